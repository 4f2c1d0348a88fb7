"""The procedural multimodal world: scenes with known truth, their pictures and sounds, questions and captions.

It is the laboratory of the library: the shipped tiny models are trained in it, and the claims are measured in it.
"""
