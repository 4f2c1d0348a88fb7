"""Measure a model on a data set with the data set's own scorer, blind baselines, intervals and published numbers."""
