"""Decoded media: arrays with units. Time is in seconds; indices come with timestamps."""

# Axes: T frames or segments, H height, W width, K channels, S samples, P points, N tokens, C feature width

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vidweave.errors import ShapeError
from vidweave.types.summary import Summarized, describe_array

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Frames", "PointCloud", "PrecomputedFeatures", "Waveform"]

_PCM_SCALES = {"u1": (128, 128), "i2": (0, 2**15), "i4": (0, 2**31)}  # numpy kind and bytes → middle, full scale


def _check(ok: bool, message: str) -> None:
    if not ok:
        raise ShapeError(message)


def _shape(value: Any, what: str) -> tuple[int, ...]:
    shape = getattr(value, "shape", None)
    _check(shape is not None, f"{what} must be an array, got {type(value).__name__}; np.asarray makes one")
    return tuple(shape)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False, repr=False)
class Frames:
    """Video frames: RGB, or any image-like modality.

    Attributes:
        values: (T, H, W, K); uint8 in 0..255, or float (depth in meters, flow in px/frame, normals in -1..1).
        pts_seconds: (T,) float64, time of each frame in the source.
        indices: (T,) int64, index of each frame in the source in presentation order.
        num_lost: Number of requested frames that could not be decoded (replaced by the nearest one).
        notes: Changes made by the reader, e.g. converted units.
    """

    values: np.ndarray
    pts_seconds: np.ndarray
    indices: np.ndarray
    num_lost: int = 0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = _shape(self.values, "frames")
        _check(len(shape) == 4, f"frames must be (T, H, W, K), got shape {shape}")
        for name in ("pts_seconds", "indices"):
            got = _shape(getattr(self, name), name)
            _check(got == (len(self.values),), f"{name} must have one entry per frame ({len(self.values)},), got {got}")

    @classmethod
    def from_array(cls, values: np.ndarray, *, fps: float, start_seconds: float = 0.0) -> Frames:
        """Wrap an array (T, H, W, K); the frame rate must be given, since an array does not carry it."""
        import numpy as np

        _check(fps > 0, f"fps must be positive, got {fps}")
        indices = np.arange(len(values), dtype=np.int64)
        return cls(values, start_seconds + indices / float(fps), indices)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        span = f", {self.pts_seconds[0]:.2f}..{self.pts_seconds[-1]:.2f} s" if len(self) else ""
        lost = f", {self.num_lost} lost" if self.num_lost else ""
        return f"Frames({describe_array(self.values)}{span}{lost})"


@dataclass(frozen=True, eq=False, repr=False)
class Waveform:
    """Audio, one channel.

    Attributes:
        samples: (S,) float32 in -1..1. Integers are scaled to that range by their type: int16 by 1/32768, int32 by 2**-31,
            uint8 from 0..255 around 128.
        sample_rate: Hz.
        start_seconds: Time of the first sample in the source.
        notes: Notes of the reader, e.g. about gaps filled with silence.

    Raises:
        ShapeError: more than one axis, a rate that is not positive, or integers of another type (no known range).
    """

    samples: np.ndarray
    sample_rate: int
    start_seconds: float = 0.0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = _shape(self.samples, "a waveform")
        _check(len(shape) == 1, f"a waveform must be mono (S,), got shape {shape}")
        _check(self.sample_rate > 0, f"sample_rate must be positive, got {self.sample_rate}")
        kind = getattr(self.samples.dtype, "kind", "f")
        if kind != "f":
            scale = _PCM_SCALES.get(f"{kind}{self.samples.dtype.itemsize}")
            _check(
                scale is not None,
                f"a waveform is floats in -1..1, int16, int32 or uint8, got {self.samples.dtype}; convert it",
            )
            middle, full = scale  # type: ignore[misc]
            object.__setattr__(self, "samples", ((self.samples.astype("float64") - middle) / full).astype("float32"))

    @property
    def duration_seconds(self) -> float:
        return len(self.samples) / self.sample_rate

    def __repr__(self) -> str:
        start = f" from {self.start_seconds:.2f} s on" if self.start_seconds else ""
        return f"Waveform({describe_array(self.samples)}, {self.sample_rate} Hz, {self.duration_seconds:.2f} s{start})"


@dataclass(frozen=True, eq=False, repr=False)
class PointCloud:
    """Points of one scene: `coordinates` (P, 3) float32 in meters, `features` (P, C) float32 (colors, …) or None.

    `notes` are changes made by the reader, e.g. scaled colors.
    """

    coordinates: np.ndarray
    features: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = _shape(self.coordinates, "coordinates")
        _check(len(shape) == 2 and shape[1] == 3, f"coordinates must be (P, 3), got shape {shape}")
        if self.features is not None:
            got = _shape(self.features, "features")
            _check(len(got) == 2 and got[0] == shape[0], f"features must be ({shape[0]}, C), got shape {got}")

    def __len__(self) -> int:
        return len(self.coordinates)

    def __repr__(self) -> str:
        features = "" if self.features is None else f", features {describe_array(self.features)}"
        return f"PointCloud({describe_array(self.coordinates)} in meters{features})"


@dataclass(frozen=True, eq=False, repr=False)
class PrecomputedFeatures(Summarized):
    """Precomputed encoder output: `values` (T, N, C) float, `seconds` (T, 2) start and end of each segment."""

    values: np.ndarray
    seconds: np.ndarray
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = _shape(self.values, "features")
        _check(len(shape) == 3, f"features must be (T, N, C), got shape {shape}")
        got = _shape(self.seconds, "seconds")
        _check(got == (shape[0], 2), f"seconds must be ({shape[0]}, 2), got {got}")
