"""Shared parts of recipe files, which stand beside the package and run by path from any folder."""
