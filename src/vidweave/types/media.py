"""Decoded media: arrays that know their units. Time is in seconds; indices come with timestamps."""

# Axes: T frames or groups in time, H height, W width, K channels, S samples, P points, N tokens, C feature width

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vidweave.errors import ShapeError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Frames", "PointCloud", "PrecomputedFeatures", "Waveform"]


def _check(ok: bool, message: str) -> None:
    if not ok:
        raise ShapeError(message)


def _shape(value: Any, what: str) -> tuple[int, ...]:
    shape = getattr(value, "shape", None)
    _check(shape is not None, f"{what} must be an array, got {type(value).__name__}; np.asarray makes one")
    return tuple(shape)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Frames:
    """Pictures in time: RGB, or any image-like modality.

    Attributes:
        values: (T, H, W, K); uint8 in 0..255, or float (depth in metres, flow in px/frame, normals in -1..1).
        pts_seconds: (T,) float64, time of each picture in the source.
        indices: (T,) int64, index of each picture in the source in presentation order.
        num_lost: Pictures that were asked for and could not be decoded (the nearest one stands in their place).
    """

    values: np.ndarray
    pts_seconds: np.ndarray
    indices: np.ndarray
    num_lost: int = 0

    def __post_init__(self) -> None:
        shape = _shape(self.values, "frames")
        _check(len(shape) == 4, f"frames must be (T, H, W, K), got shape {shape}")
        for name in ("pts_seconds", "indices"):
            got = _shape(getattr(self, name), name)
            _check(got == (len(self.values),), f"{name} must have one entry per frame ({len(self.values)},), got {got}")

    @classmethod
    def from_array(cls, values: np.ndarray, *, fps: float, start_seconds: float = 0.0) -> Frames:
        """Wrap an array (T, H, W, K); the frame rate is asked for, since an array does not know it."""
        import numpy as np

        _check(fps > 0, f"fps must be positive, got {fps}")
        indices = np.arange(len(values), dtype=np.int64)
        return cls(values, start_seconds + indices / float(fps), indices)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        span = f", {self.pts_seconds[0]:.2f}..{self.pts_seconds[-1]:.2f} s" if len(self) else ""
        return f"Frames({tuple(self.values.shape)} {self.values.dtype}{span})"


@dataclass(frozen=True, eq=False)
class Waveform:
    """Sound, one channel: `samples` (S,) float32 in -1..1 at `sample_rate` Hz, from `start_seconds` on."""

    samples: np.ndarray
    sample_rate: int
    start_seconds: float = 0.0

    def __post_init__(self) -> None:
        shape = _shape(self.samples, "a waveform")
        _check(len(shape) == 1, f"a waveform must be mono (S,), got shape {shape}")
        _check(self.sample_rate > 0, f"sample_rate must be positive, got {self.sample_rate}")

    @property
    def duration_seconds(self) -> float:
        return len(self.samples) / self.sample_rate

    def __repr__(self) -> str:
        return f"Waveform({len(self.samples)} samples, {self.sample_rate} Hz, {self.duration_seconds:.2f} s)"


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points of one scene: `coordinates` (P, 3) float32 in metres, `features` (P, C) float32 (colours, …) or None."""

    coordinates: np.ndarray
    features: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = _shape(self.coordinates, "coordinates")
        _check(len(shape) == 2 and shape[1] == 3, f"coordinates must be (P, 3), got shape {shape}")
        if self.features is not None:
            got = _shape(self.features, "features")
            _check(len(got) == 2 and got[0] == shape[0], f"features must be ({shape[0]}, C), got shape {got}")

    def __len__(self) -> int:
        return len(self.coordinates)

    def __repr__(self) -> str:
        width = 0 if self.features is None else self.features.shape[1]
        return f"PointCloud({len(self)} points, {width} features)"


@dataclass(frozen=True, eq=False)
class PrecomputedFeatures:
    """Encoder output that the user already has: `values` (T, N, C) float, `seconds` (T, 2) start and end of each group."""

    values: np.ndarray
    seconds: np.ndarray
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = _shape(self.values, "features")
        _check(len(shape) == 3, f"features must be (T, N, C), got shape {shape}")
        got = _shape(self.seconds, "seconds")
        _check(got == (shape[0], 2), f"seconds must be ({shape[0]}, 2), got {got}")
