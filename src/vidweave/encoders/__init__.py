"""Encoders: see. Frozen as a rule; each publishes `specs` (modality → preprocessing), `width` and `num_tokens`."""
