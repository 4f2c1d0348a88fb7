"""The parts of the recipe `tiny/crema`: the initial model, clips with their questions, and losses."""
