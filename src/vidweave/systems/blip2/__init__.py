"""BLIP-2 and InstructBLIP: the base models of CREMA, VideoTGB and MA-LMM."""
