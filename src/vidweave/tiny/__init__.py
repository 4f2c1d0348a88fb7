"""Training of the shipped tiny models: everything for the toy world that is not `toyworld` itself."""
