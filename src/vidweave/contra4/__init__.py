"""Contra4: questions that compare scenes of different modalities; their data, their making, their evaluation."""
