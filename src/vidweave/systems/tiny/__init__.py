"""Tiny models of the toy world: shipped with the package, trained by recipes/tiny."""
