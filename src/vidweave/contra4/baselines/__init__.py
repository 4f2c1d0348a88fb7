"""Baselines for questions about several scenes, each an `Answerer`: captions, an endpoint, or scene by scene."""
