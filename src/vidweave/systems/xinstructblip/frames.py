"""Which frames the original takes, by number: for comparison with published figures.

Presets take the first and the last frame and others evenly between (`FrameNeed(rule="truncate")`).
"""

from __future__ import annotations

import random

from vidweave.errors import ConfigError

__all__ = ["head_tail", "train_head_tail"]


def head_tail(available: int, fps: float, count: int) -> tuple[list[int], list[int]]:
    """The frames that evaluation asks for, and those that it gets.

    The last one asked for is as a rule the number of frames, which no file has: the last frame that could be read then
    stands in its place.

    Raises:
        ConfigError: fewer than two frames are asked for, or there is none.
    """
    _check(available, count)
    end = int(available / fps * fps)
    asked = [0, *(end // (count - 1) * step for step in range(1, count - 1)), end]
    readable = next((i for i, index in enumerate(asked) if index >= available), len(asked))
    got = asked[:readable]
    return asked, got + [got[-1]] * (count - len(got))


def train_head_tail(available: int, count: int, draw: random.Random) -> list[int]:
    """The frames of training: half of them drawn from each half of the video, and the last repeated up to `count`.

    Raises:
        ConfigError: fewer than two frames are asked for, or halves with too few.
    """
    _check(available, count)
    half, middle = count // 2, available // 2
    if middle < half:
        raise ConfigError(f"a video of {available} frames has no {half} in each half; ask for fewer")
    drawn = sorted(draw.sample(range(middle), half)) + sorted(draw.sample(range(middle, available), half))
    return drawn + [drawn[-1]] * (count - len(drawn))


def _check(available: int, count: int) -> None:
    if count < 2 or available < 1:
        raise ConfigError(f"head and tail are 2 frames or more of a video that has some, got {count} of {available}")
