"""Selectors: choose moments before anything is decoded. They return times, never frames."""
