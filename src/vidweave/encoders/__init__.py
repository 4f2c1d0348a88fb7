"""Encoders, normally frozen; each has `specs` (modality → preprocessing), `width` and `num_tokens`."""
