"""Contra4: generate, filter and evaluate questions that compare scenes of different modalities."""
