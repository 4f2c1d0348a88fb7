"""Series of numbers in several channels: inertial sensors over time, or the voxels of a brain scan."""

# Axes: S samples (or trials), K channels

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from vidweave.errors import ConfigError, ShapeError
from vidweave.types.carriers import ArrayCarrier, CarrierSpec

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Series", "SeriesSpec"]


@dataclass(frozen=True, eq=False, repr=False)
class Series(ArrayCarrier):
    """Samples of several channels.

    Attributes:
        values: (S, K) float.
        rate: Samples per second; None for a series without time (repeated trials).
        start_seconds: Time of the first sample in the source.
        notes: Changes made by the reader.
    """

    values: np.ndarray
    rate: float | None = None
    start_seconds: float = 0.0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = getattr(self.values, "shape", None)
        if shape is None or len(shape) != 2 or not min(shape):
            raise ShapeError(
                f"a series must be an array (samples, channels), got {shape or type(self.values).__name__}"
            )
        if self.values.dtype.kind not in "iuf":
            raise ShapeError(f"a series must hold numbers, got {self.values.dtype}")
        if self.rate is not None and not 0 < self.rate < float("inf"):
            raise ShapeError(f"the rate of a series must be positive, got {self.rate}")

    @property
    def duration_seconds(self) -> float | None:
        return None if self.rate is None else len(self.values) / self.rate

    @classmethod
    def from_array(cls, values: np.ndarray, rate: float | None) -> Self:
        return cls(values[None] if values.ndim == 1 else values, rate)

    def cut(self, start_seconds: float | None, end_seconds: float | None) -> Self:
        if self.rate is None or (start_seconds is None and end_seconds is None):
            return self
        count = len(self.values)
        first = max(0, round(((start_seconds or 0.0) - self.start_seconds) * self.rate))
        stop = count if end_seconds is None else min(count, round((end_seconds - self.start_seconds) * self.rate))
        if first >= stop:
            span = f"{start_seconds or 0.0}..{end_seconds if end_seconds is not None else 'end'} s"
            raise ShapeError(f"the series lasts {self.duration_seconds:g} s and has no sample in {span}")
        return replace(self, values=self.values[first:stop], start_seconds=self.start_seconds + first / self.rate)

    def blank(self) -> Self:
        return replace(self, values=self.values * 0)

    def parts(self) -> dict[str, np.ndarray]:
        import numpy as np

        rate = float("nan") if self.rate is None else self.rate
        return {"values": self.values, "times": np.array([rate, self.start_seconds])}


@dataclass(frozen=True, kw_only=True)
class SeriesSpec(CarrierSpec):
    """Preprocessing of a series to (1, length, channels): one time step.

    Attributes:
        channels: K.
        length: Number of samples; a shorter series is padded with zeros, a longer one is an error.
        rate: Samples per second that the encoder expects; a series of another rate is resampled (linearly). None: a
            series without time.
        average: Take the mean over all samples (repeated trials of one scan); `length` is then 1.
    """

    kind: ClassVar[str] = "series"
    carrier: ClassVar[str] = "series"
    channels: int
    length: int = 1
    rate: float | None = None
    average: bool = False

    def __post_init__(self) -> None:
        if self.channels < 1 or self.length < 1 or (self.rate is not None and not self.rate > 0):
            raise ConfigError(f"a series spec needs positive channels, length and rate, got {self}")
        if self.average and (self.length != 1 or self.rate is not None):
            raise ConfigError(f"average=True gives one sample without a time; use length=1 and no rate, got {self}")

    def payload(self) -> tuple[int, ...]:
        return (self.length, self.channels)

    def apply(self, carrier: ArrayCarrier) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        if not isinstance(carrier, Series):
            raise ShapeError(f"a SeriesSpec takes a Series, got {type(carrier).__name__}")
        if carrier.values.shape[1] != self.channels:
            raise ShapeError(f"the spec takes {self.channels} channels, the series has {carrier.values.shape[1]}")
        if not np.isfinite(carrier.values).all():
            raise ShapeError("the series holds NaN or infinity; clean it first")
        values = carrier.values.astype(np.float64)
        values = values.mean(0, keepdims=True) if self.average else self._resampled(values, carrier.rate)
        if len(values) > self.length:
            most = f"{self.length} samples" if self.rate is None else f"{self.length / self.rate:g} s"
            have = f"{len(values)}" if self.rate is None else f"{len(values) / self.rate:g} s"
            raise ShapeError(
                f"the spec takes {most} of a series, it has {have}; choose a span (start_seconds, end_seconds)"
            )
        seconds = [carrier.start_seconds, carrier.start_seconds + len(values) / (self.rate or float("inf"))]
        padded = np.pad(values, ((0, self.length - len(values)), (0, 0)))
        return padded[None].astype(np.float32), np.array([seconds])

    def _resampled(self, values: np.ndarray, rate: float | None) -> np.ndarray:
        import numpy as np

        if self.rate is None or rate == self.rate:
            return values
        if rate is None:
            raise ShapeError(
                f"the spec takes {self.rate:g} samples per second, and the series has no rate; give it (Clip(fps=…)), or "
                'write {"fps": …} into NAME.npy.json'
            )
        requested = np.arange(max(1, round(len(values) / rate * self.rate))) / self.rate
        return np.stack([np.interp(requested, np.arange(len(values)) / rate, channel) for channel in values.T], axis=1)
