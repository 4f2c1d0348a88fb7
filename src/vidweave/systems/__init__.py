"""One folder per paper: a preset, its checkpoint layouts, its published numbers and its card. Reached by name only."""
