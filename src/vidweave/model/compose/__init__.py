"""Models composed from pretrained parts: towers and a language model of transformers, and a new connector between them."""
