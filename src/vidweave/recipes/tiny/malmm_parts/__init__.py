"""The parts of the recipe `tiny/malmm`: clips as memories, and losses."""
