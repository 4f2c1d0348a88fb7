"""VideoTGB (arXiv 2402.16050): a temporal grounding bridge over motion selects the frames that a question is about."""
