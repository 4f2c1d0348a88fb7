"""Whole vision-language models of transformers behind vidweave's media, selectors, option scores and Traces."""
