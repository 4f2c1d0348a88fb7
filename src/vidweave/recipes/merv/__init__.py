"""Recipes of MERV: its two training runs, and their shared parts."""
