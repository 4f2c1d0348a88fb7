"""Selectors: choose timestamps before any frame is decoded. They return times, never frames."""
