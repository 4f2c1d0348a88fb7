"""VideoTGB (arXiv 2402.16050): a temporal grounding bridge over motion picks the moments that a question is about."""
