"""The training stages of VideoTGB."""
