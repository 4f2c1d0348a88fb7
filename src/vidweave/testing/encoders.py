"""Contract checks of encoders."""

# Axes: R rows, T segments, N tokens, C width

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vidweave.errors import ModalityError
from vidweave.testing.close import expect_close, expect_finite, expect_shape
from vidweave.types import (
    AudioSpec,
    CarrierSpec,
    Encoder,
    HasTokenCount,
    MotionSpec,
    PointSpec,
    TakesWindows,
    VisualSpec,
)

__all__ = ["check_encoder", "example_payload"]


def check_encoder(encoder: Any, *, seed: int = 0) -> None:
    """Check an encoder in eval mode, on random values for each of its specs; raises AssertionError.

    Shape and width are as published; a batch equals its rows one by one; a segment does not see other segments; no rows
    and no segments are legal; the input is not changed; the result repeats; an unknown modality is refused.
    """
    assert isinstance(encoder, Encoder), "an encoder has `specs`, `width` and `encode(values, modality)`"
    assert encoder.specs, "an encoder needs at least one spec"
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for modality, spec in encoder.specs.items():
            payload = example_payload(spec, _window(encoder))
            values = torch.randn(3, 2, *payload, generator=generator)
            if isinstance(spec, PointSpec) and not spec.normalize:
                values[..., :3] = values[..., :3].abs()  # places in metres or voxels
            _check_modality(encoder, modality, values)
        try:
            encoder.encode(torch.zeros(1, 1, *payload), "no such modality")
        except ModalityError:
            return
    raise AssertionError("an unknown modality must raise ModalityError")


def _check_modality(encoder: Any, modality: str, values: Tensor) -> None:
    before = values.clone()
    tokens = encoder.encode(values, modality)
    num_tokens = _num_tokens(encoder, tokens)
    expect_shape(tokens, (3, 2, num_tokens, encoder.width), f"tokens of {modality!r}")
    expect_finite(tokens, f"tokens of {modality!r}")
    assert torch.equal(values, before), "encode must not change its input"
    expect_close(encoder.encode(values, modality), tokens, "the same input again")
    for row in range(3):
        expect_close(encoder.encode(values[[row]], modality)[0], tokens[row], "one row alone")
    expect_close(encoder.encode(values[:, 1:], modality), tokens[:, 1:], "one segment alone")
    expect_shape(encoder.encode(values[:0], modality), (0, 2, num_tokens, encoder.width), "tokens of no rows")
    expect_shape(encoder.encode(values[:, :0], modality), (3, 0, num_tokens, encoder.width), "tokens of no segments")


def _window(encoder: object) -> int:
    return encoder.window if isinstance(encoder, TakesWindows) else 1


def _num_tokens(encoder: object, tokens: Tensor) -> int:
    return encoder.num_tokens if isinstance(encoder, HasTokenCount) else tokens.shape[2]


def example_payload(spec: Any, window: int = 1) -> tuple[int, ...]:
    """Shape of one segment preprocessed by `spec`, see `StreamInputs`."""
    if isinstance(spec, VisualSpec):
        return (window * spec.crops, 3, spec.height, spec.width)
    if isinstance(spec, PointSpec):
        return (spec.num_points, 3 + spec.feature_width)
    if isinstance(spec, MotionSpec):
        return (1, 2, *((3,) if spec.source == "pictures" else ()), spec.height, spec.width)
    if isinstance(spec, CarrierSpec):
        return spec.payload()
    assert isinstance(spec, AudioSpec)
    if spec.windows_of == "frames":
        return (spec.window_frames, spec.mel_bins)
    if not spec.mel_bins:
        return (round(spec.window_seconds * spec.sample_rate),)
    # whole frames only; the small number forgives 0.97500001 / 0.01
    return (1 + int((spec.window_seconds - spec.frame_seconds) / spec.hop_seconds + 1e-6), spec.mel_bins)
