"""The parts of the recipe `finetune`: data, trainable parameters, validation, and what it writes."""
