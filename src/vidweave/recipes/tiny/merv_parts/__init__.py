"""The parts of the recipe `tiny/merv`: encoders, the language model, and the rows that are compared."""
