"""BLIP-2 and InstructBLIP: the bases that CREMA, VideoTGB and MA-LMM start from."""
