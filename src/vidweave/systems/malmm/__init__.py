"""MA-LMM (arXiv 2404.05726): a Q-Former with memory banks over every frame, for long video in bounded memory."""
