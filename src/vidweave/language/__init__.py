"""The slot that answers: causal and sequence-to-sequence language models, prompt layouts, and the splice."""
