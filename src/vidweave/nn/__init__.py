"""Pure blocks and functions: plain modules and tensors, no configuration, no media."""
