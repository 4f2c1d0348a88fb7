"""Pipelines from files to answers, as returned by `vidweave.load`."""
