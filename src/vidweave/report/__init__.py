"""An answer and its Trace as a page: self-contained HTML, and the same as a picture."""
