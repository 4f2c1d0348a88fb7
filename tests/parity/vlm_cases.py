"""Frames and times that tests/golden/vlms/record.py and test_parity_vlms.py share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

PROMPT = "Watch {mark} and answer."


@dataclass(frozen=True)
class Case:
    """Times of the frames, whether neighbors share a patch, and the duration of the clip."""

    seconds: tuple[float, ...]
    is_dense: bool
    duration: float
    height: int = 40
    width: int = 60


CASES = {
    "irregular": Case((0.1, 6.1, 63.4), False, 70.0),
    "dense": Case((0.0, 0.5, 1.0, 1.5, 2.0), True, 2.5, height=61, width=33),
}


def frames_of(case: Case) -> np.ndarray:
    """Frames (T, H, W, 3) uint8: a gradient that moves, with noise."""
    rng = np.random.default_rng(len(case.seconds))
    rows, columns = np.mgrid[: case.height, : case.width]
    gradient = [rows * 4 + columns * 2 + 40 * step for step in range(len(case.seconds))]
    noise = rng.integers(0, 60, (len(case.seconds), case.height, case.width, 3))
    return ((np.stack(gradient)[..., None] + noise) % 256).astype(np.uint8)


def kept(values: Tensor) -> Tensor:
    """Some of the values of a flat tensor: every seventh, or fewer of a large one."""
    return values[:: 7 if len(values) < 40_000 else 61].contiguous()


def quantized(values: Tensor) -> Tensor:
    """Normalized values (within -3 and 3) → a byte each, for small files; one step is 0.024."""
    return ((values + 3) * (255 / 6)).round().clamp(0, 255).to(torch.uint8)
