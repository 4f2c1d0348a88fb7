"""Frame indices of the original loader, for comparison with published results.

Presets use seconds instead (`FrameNeed(rule="truncate", stride=…)`), which is equal for a whole clip.
"""

from __future__ import annotations

import math

import numpy as np

from vidweave.errors import ConfigError
from vidweave.media.plan import spread_between

__all__ = ["clip_frames", "strides"]


def clip_frames(
    available: int,
    fps: float,
    count: int,
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    end_frame: int = -1,
) -> np.ndarray:
    """Spread (count,) indices over `available` frames: evenly from the start to the end, truncated.

    `end_frame` of 0 and above is the last frame, and times are then ignored; NaN times are ignored too.
    """
    if end_frame >= 0:
        return spread_between(0, min(available - 1, end_frame), count, truncate=True)
    start = 0.0 if start_seconds is None or math.isnan(start_seconds) else start_seconds
    end = available / fps if end_seconds is None or math.isnan(end_seconds) else end_seconds
    return spread_between(start * fps, min(available - 1, end * fps - 1), count, truncate=True)


def strides(num_frames: dict[str, int]) -> dict[str, int]:
    """Stride of each encoder in the frames of the encoder with the most frames.

    Raises:
        ConfigError: a number that does not divide the largest; names the encoders and the valid numbers.
    """
    most = max(num_frames.values())
    odd = {name: count for name, count in num_frames.items() if most % count}
    if odd:
        fits = ", ".join(str(n) for n in range(1, most + 1) if most % n == 0)
        raise ConfigError(
            f"the encoders share frames at strides, so their numbers of frames must divide the largest ({most}): "
            f"{', '.join(f'{name!r} takes {count}' for name, count in odd.items())}; give one of {fits}"
        )
    return {name: most // count for name, count in num_frames.items()}
