"""Files that public bug reports describe, and the frame number that each of their frames carries."""

from __future__ import annotations

from pathlib import Path

import numpy as np

FIELD = Path(__file__).parents[2] / "data" / "field"


def numbered(numbers: list[int], height: int = 48, width: int = 64) -> np.ndarray:
    """Frames (N, H, W, 3) that carry their numbers as eight bars, bright for 1, lowest bit first."""
    bits = (np.array(numbers)[:, None] >> np.arange(8)) & 1
    columns = np.repeat(np.where(bits, 235, 16).astype(np.uint8), width // 8, axis=1)
    return np.broadcast_to(columns[:, None, :, None], (len(numbers), height, width, 3)).copy()


def number_of(frame: np.ndarray) -> int:
    """The number that a frame (H, W, 3) carries; see `numbered`."""
    height, width = frame.shape[:2]
    rows = frame[int(height * 0.15) : int(height * 0.5)].mean(axis=(0, 2))
    column = width / 8
    bars = [rows[int(i * column + column * 0.3) : int(i * column + column * 0.7)].mean() > 125 for i in range(8)]
    return sum(int(bar) << i for i, bar in enumerate(bars))


def numbers_of(values: np.ndarray) -> list[int]:
    """The numbers of frames (N, H, W, 3)."""
    return [number_of(frame) for frame in values]
