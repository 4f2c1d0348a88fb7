"""Procedural multimodal toy world: scenes with known contents, rendered in every modality, with questions and captions.

The shipped tiny models are trained on it, and the claims are measured on it.
"""
