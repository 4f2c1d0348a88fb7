"""Language models (causal and sequence-to-sequence), prompt layouts, and the splice of text and visual tokens."""
