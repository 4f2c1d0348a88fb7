"""Reports of an answer and its trace: self-contained HTML, and an image of it."""
