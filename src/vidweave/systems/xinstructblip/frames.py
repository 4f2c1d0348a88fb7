"""Frame indices of the original loader, for comparison with published results.

Presets sample the first and the last frame and others evenly between (`FrameNeed(rule="truncate")`).
"""

from __future__ import annotations

import random

from vidweave.errors import ConfigError

__all__ = ["head_tail", "train_head_tail"]


def head_tail(available: int, fps: float, count: int) -> tuple[list[int], list[int]]:
    """Compute the frame indices that evaluation requests, and those that it reads.

    The last request is usually the number of frames, an index that no file has: the last readable frame then
    replaces it.

    Raises:
        ConfigError: fewer than two requested frames, or an empty video.
    """
    _check(available, count)
    end = int(available / fps * fps)
    requested = [0, *(end // (count - 1) * step for step in range(1, count - 1)), end]
    readable = next((i for i, index in enumerate(requested) if index >= available), len(requested))
    read = requested[:readable]
    return requested, read + [read[-1]] * (count - len(read))


def train_head_tail(available: int, count: int, draw: random.Random) -> list[int]:
    """Draw the frames of training: half of them from each half of the video, and the last repeated up to `count`.

    Raises:
        ConfigError: fewer than two requested frames, or halves with too few.
    """
    _check(available, count)
    half, middle = count // 2, available // 2
    if middle < half:
        raise ConfigError(f"a video of {available} frames has fewer than {half} in each half; request fewer")
    drawn = sorted(draw.sample(range(middle), half)) + sorted(draw.sample(range(middle, available), half))
    return drawn + [drawn[-1]] * (count - len(drawn))


def _check(available: int, count: int) -> None:
    if count < 2 or available < 1:
        raise ConfigError(f"head and tail need 2 or more frames of a nonempty video, got {count} of {available}")
