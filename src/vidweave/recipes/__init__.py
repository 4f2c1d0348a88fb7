"""Recipes: training runs and data generation as Python files, run by name (`vidweave train merv/frozen`)."""
