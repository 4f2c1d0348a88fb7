"""X-InstructBLIP: a Q-Former that reads the instruction for each modality, before one frozen Vicuna."""
