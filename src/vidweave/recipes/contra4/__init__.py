"""Recipes that generate Contra4 questions."""
