"""Recipes that train the shipped tiny models of the toy world."""
