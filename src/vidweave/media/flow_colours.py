"""Visualize flow: hue is direction, saturation is distance (color wheel of Baker et al., ICCV 2007)."""

# Axes: T maps, H height, W width, K = 55 colors of the wheel

from __future__ import annotations

from functools import cache

import numpy as np

from vidweave.errors import ShapeError

__all__ = ["colour_wheel", "flow_to_rgb"]

_RED, _YELLOW, _GREEN, _CYAN, _BLUE, _MAGENTA = (
    np.array(c) for c in ((1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1))
)
_ARCS = (  # steps from one color to the next: more where people distinguish more hues
    (15, _RED, _YELLOW),
    (6, _YELLOW, _GREEN),
    (4, _GREEN, _CYAN),
    (11, _CYAN, _BLUE),
    (13, _BLUE, _MAGENTA),
    (6, _MAGENTA, _RED),
)


@cache
def colour_wheel() -> np.ndarray:
    """(K, 3) integers 0..255, from red through yellow, green, cyan, blue and magenta."""
    parts = []
    for steps, start, end in _ARCS:
        rising = np.floor(255 * np.arange(steps) / steps)[:, None]
        # Rising channels are rounded down; falling ones are the rest to 255.
        parts.append(255.0 * start + rising * (end - start))
    return np.concatenate(parts)


def flow_to_rgb(flow: np.ndarray, *, largest: float | None = None) -> np.ndarray:
    """Flow (T, H, W, 2), right and down in pixels → (T, H, W, 3) uint8; white is still.

    Args:
        largest: Displacement with full saturation, darker above; None uses each map's maximum.

    Raises:
        ShapeError: values that are not flow.
    """
    if flow.ndim != 4 or flow.shape[3] != 2 or flow.dtype.kind != "f":
        raise ShapeError(f"flow must be floats (T, H, W, 2), got {flow.dtype} {flow.shape}")
    right, down = np.moveaxis(flow.astype(np.float64), 3, 0)
    far = np.hypot(right, down)
    scale = far.max(axis=(1, 2), keepdims=True, initial=0.0) if largest is None else largest
    right, down, far = (part / (scale + 1e-5) for part in (right, down, far))
    wheel = colour_wheel() / 255
    place = (np.arctan2(-down, -right) / np.pi + 1) / 2 * (len(wheel) - 1)
    before = np.floor(place).astype(np.int64)
    share = (place - before)[..., None]
    colour = (1 - share) * wheel[before] + share * wheel[(before + 1) % len(wheel)]
    far = far[..., None]
    colour = np.where(far <= 1, 1 - far * (1 - colour), 0.75 * colour)
    return np.floor(255 * colour).astype(np.uint8)
