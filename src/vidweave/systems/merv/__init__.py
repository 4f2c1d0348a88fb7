"""MERV (arXiv 2501.01426): several specialized video encoders before one language model."""
