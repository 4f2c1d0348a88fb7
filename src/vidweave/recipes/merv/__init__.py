"""Recipes of MERV: its two training runs, and the parts that they share."""
