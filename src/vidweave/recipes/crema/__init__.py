"""Fine-tuning and pre-training of CREMA."""
