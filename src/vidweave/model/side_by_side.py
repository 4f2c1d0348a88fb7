"""Encoders that run side by side where the device can."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from vidweave.types import Features

__all__ = ["encode_side_by_side"]


def encode_side_by_side(
    encode: Callable[[str], Features], names: Sequence[str], device: torch.device
) -> dict[str, Features]:
    """Features of the streams `names`: each in a CUDA stream of its own, one after the other elsewhere.

    Encoders of one image or clip leave most of a large GPU idle. Gradients flow as without: autograd computes each
    backward step where the forward one was computed, and waits in between.

    Args:
        encode: Stream → its features, all of them on `device`.
    """
    if device.type != "cuda" or len(names) < 2:
        return {name: encode(name) for name in names}
    main = torch.cuda.current_stream(device)
    sides = {name: torch.cuda.Stream(device) for name in names}
    features = {}
    for name, side in sides.items():
        side.wait_stream(main)  # the weights may have been written there just now
        with torch.cuda.stream(side):
            features[name] = encode(name)
    for name, side in sides.items():
        main.wait_stream(side)
        for tensor in vars(features[name]).values():
            tensor.record_stream(main)  # or its memory would be given away while the connector reads it
    return features
