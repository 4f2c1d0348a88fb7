"""The parts of the recipe `tiny/crema`: the model before training, clips with their questions, and losses."""
