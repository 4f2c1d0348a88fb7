"""Questions with known answers: one schema, one file per source."""
