"""Neural network building blocks and pure functions: plain modules and tensors, without configurations or media."""
