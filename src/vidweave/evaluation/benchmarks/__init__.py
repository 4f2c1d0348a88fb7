"""Measure a model on a data set by the data set's own scorer, with blind baselines, intervals and published numbers."""
