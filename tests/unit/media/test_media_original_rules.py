"""Rules that released systems follow and ours can: index rules, 8-bit rounding with and without its fault."""

import numpy as np
import pytest
import torch

from vidweave.media.plan import segment_borders, spread, spread_between
from vidweave.media.preprocess import apply
from vidweave.types import Frames, VisualSpec


def test_index_rules():
    assert spread_between(0, 9, 4).tolist() == [0, 3, 6, 9]
    assert spread_between(0, 5, 3).tolist() == [0, 2, 5]  # 2.5 to the even one
    assert spread_between(0, 5, 3, truncate=True).tolist() == [0, 2, 5]
    assert spread_between(1, 8, 3, truncate=True).tolist() == [1, 4, 8]
    assert spread_between(0, 23, 7).tolist() == spread(7, 24, "linspace").tolist()
    assert segment_borders(0, 10, 4).tolist() == [0, 2, 5, 7, 10]
    assert len(segment_borders(0, 3, 8)) == 9


@pytest.mark.parametrize("rounding", ["none", "truncate", "wrap"])
def test_rounding_of_resized_frames(rounding):
    noise = np.random.default_rng(3).choice([0, 255], (2, 9, 11, 3)).astype(np.uint8)
    spec = VisualSpec(height=7, width=5, antialias=False, scale=1.0, rounding=rounding)
    got, _ = apply(spec, Frames.from_array(noise, fps=1))
    raw = torch.nn.functional.interpolate(
        torch.from_numpy(noise).permute(0, 3, 1, 2).float(), (7, 5), mode="bicubic", align_corners=False
    )
    assert raw.min() < -1 and raw.max() > 256  # noqa: PT018
    for value, source in zip(got.flatten().tolist(), raw.flatten().tolist(), strict=True):
        whole = int(source) if rounding != "none" else source
        expected = whole % 256 if rounding == "wrap" else min(max(whole, 0), 255)
        assert value == pytest.approx(expected, abs=1e-4)


def test_frames_of_the_right_size_stay_as_they_are():
    noise = np.random.default_rng(4).integers(0, 256, (1, 7, 5, 3), dtype=np.uint8)
    results = []
    for rounding in ("none", "truncate", "wrap"):
        spec = VisualSpec(height=7, width=5, rounding=rounding)
        results.append(apply(spec, Frames.from_array(noise, fps=1))[0])
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
