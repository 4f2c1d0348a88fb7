"""MERV (arXiv 2501.01426): several specialised video encoders behind one language model."""
