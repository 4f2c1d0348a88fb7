"""X-InstructBLIP: a Q-Former that reads the instruction for each modality, in front of one frozen Vicuna."""
