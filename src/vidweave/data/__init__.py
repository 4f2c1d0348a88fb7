"""Data sets of questions with answers: one schema, one reader per source."""
