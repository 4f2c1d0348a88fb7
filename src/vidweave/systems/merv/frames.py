"""Which pictures the original loader takes, by number: for comparison with published figures.

Presets say it in seconds instead (`FrameNeed(rule="truncate", stride=…)`), which is the same for a whole clip.
"""

from __future__ import annotations

import math

import numpy as np

from vidweave.errors import ConfigError
from vidweave.media.plan import spread_between

__all__ = ["clip_pictures", "strides"]


def clip_pictures(
    available: int,
    fps: float,
    count: int,
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    end_frame: int = -1,
) -> np.ndarray:
    """(count,) indices into `available` pictures: evenly from the start to the end, cut off.

    `end_frame` of 0 and above is the last picture, and times are then ignored; NaN times are none.
    """
    if end_frame >= 0:
        return spread_between(0, min(available - 1, end_frame), count, truncate=True)
    start = 0.0 if start_seconds is None or math.isnan(start_seconds) else start_seconds
    end = available / fps if end_seconds is None or math.isnan(end_seconds) else end_seconds
    return spread_between(start * fps, min(available - 1, end * fps - 1), count, truncate=True)


def strides(num_frames: dict[str, int]) -> dict[str, int]:
    """Encoder → of the pictures of the one that takes most, it takes every so manieth.

    Raises:
        ConfigError: a number that does not divide the largest; names the encoders and numbers that would.
    """
    most = max(num_frames.values())
    odd = {name: count for name, count in num_frames.items() if most % count}
    if odd:
        fits = ", ".join(str(n) for n in range(1, most + 1) if most % n == 0)
        raise ConfigError(
            f"the encoders see the same pictures at strides, so their numbers must divide the largest ({most}): "
            f"{', '.join(f'{name!r} takes {count}' for name, count in odd.items())}; give one of {fits}"
        )
    return {name: most // count for name, count in num_frames.items()}
