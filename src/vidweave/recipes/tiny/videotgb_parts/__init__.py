"""The parts of the recipe `tiny/videotgb`: clips with their pseudo labels, and the two stages."""
