"""Sources that give frames by index: carriers in memory and `.npy` files; folders and pages have their own modules."""

# Axes: N frames of the source, M requested, H height, W width, K channels

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from vidweave.errors import MediaDecodeError, MediaError
from vidweave.media.arrays import ArrayFile
from vidweave.media.guards import GuardedFile
from vidweave.media.image import image_shape, in_known_unit
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.media.video import check_indices
from vidweave.types import Frames

__all__ = ["FOLDER_TIMING", "ArrayFrames", "FrameSource", "HeldFrames", "Timing", "read_timing"]

FOLDER_TIMING = "frames.json"

_MAX_TIMING_BYTES = 64 * 2**20


class FrameSource(Protocol):
    """Protocol of sources that give frames by index. `VideoReader` implements it too."""

    pts_seconds: np.ndarray  # (N,) float64
    duration_seconds: float

    @property
    def notes(self) -> list[str]: ...

    def read(self, indices: Sequence[int] | np.ndarray) -> Frames:
        """Return frames (M, H, W, K) of the indices, in the requested order."""
        ...

    def close(self) -> None: ...


class Timing:
    """Display times of `count` frames, from a rate or from a list of times.

    `last_seconds`: Duration of the last frame; None uses the most common duration.
    """

    def __init__(
        self,
        count: int,
        *,
        fps: float | None,
        pts_seconds: Sequence[float] | np.ndarray | None,
        label: str,
        last_seconds: float | None = None,
    ) -> None:
        self.fps = fps
        if pts_seconds is not None:
            times = _floats(pts_seconds)
            if times is None or len(times) != count or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
                raise MediaError(f"{label}: pts_seconds must be {count} ascending numbers, one per frame")
            self.pts_seconds = times
            gap = float(np.median(np.diff(times))) if count > 1 else 0.0
            self.duration_seconds = float(times[-1]) + (gap if last_seconds is None else last_seconds)
            return
        if count == 1 and fps is None:
            self.pts_seconds, self.duration_seconds = np.zeros(1), 0.0
            return
        if fps is None:
            raise MediaError(
                f"{label} has {count} frames but no frame rate; give it (Clip(fps=…), vidweave ask --fps …), or write"
                f' {{"fps": …}} or {{"pts_seconds": […]}} into {FOLDER_TIMING} (folder) or NAME.npy.json (array)'
            )
        if not isinstance(fps, (int, float)) or isinstance(fps, bool) or not math.isfinite(fps) or fps <= 0:
            raise MediaError(f"{label}: fps must be a positive number, got {fps!r}")
        self.pts_seconds = np.arange(count) / float(fps)
        self.duration_seconds = count / float(fps)


def read_timing(path: Path, count: int, *, fps: float | None, label: str, limits: Limits) -> Timing:
    """Read the timing of `count` frames: `fps` if given, else the JSON file at `path`, else an error with advice."""
    if fps is not None or not os.path.lexists(path):
        return Timing(count, fps=fps, pts_seconds=None, label=label)
    with GuardedFile(path, limits=limits) as file:
        if file.size > _MAX_TIMING_BYTES:
            raise MediaError(f"{file.label} is too large for a timing file ({file.size:,} bytes)")
        try:
            data = json.loads(file.read())
        except (ValueError, RecursionError):
            raise MediaDecodeError(f"{file.label} is not JSON") from None
    if not isinstance(data, dict):
        raise MediaDecodeError(f"{file.label} must be a JSON object with 'fps' or 'pts_seconds'")
    return Timing(count, fps=data.get("fps"), pts_seconds=data.get("pts_seconds"), label=file.label)


def _floats(values: object) -> np.ndarray | None:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return array if array.ndim == 1 else None


class HeldFrames:
    """Frames that are already in memory."""

    def __init__(
        self,
        frames: Frames,
        *,
        modality: str = "video",
        limits: Limits = DEFAULT_LIMITS,
        label: str = "the given frames",
    ) -> None:
        if not len(frames):
            raise MediaDecodeError(f"{label} are empty")
        image_shape(frames.values.shape, label, modality)
        values, notes = in_known_unit(frames.values, modality, label)
        frames = replace(frames, values=values, notes=(*frames.notes, *notes))
        limits.check(
            "max_pixels", frames.values.shape[1] * frames.values.shape[2], f"{label} have too many pixels per frame"
        )
        self._frames, self._label, self._limits = frames, label, limits
        self.pts_seconds = frames.pts_seconds
        gap = float(np.median(np.diff(frames.pts_seconds))) if len(frames) > 1 else 0.0
        self.duration_seconds = float(frames.pts_seconds[-1]) + gap

    @property
    def notes(self) -> list[str]:
        lost = self._frames.num_lost
        return [
            *self._frames.notes,
            *([f"{lost} frames were lost when the video was decoded"] if lost else []),
        ]

    def read(self, indices: Sequence[int] | np.ndarray) -> Frames:
        asked = check_indices(indices, len(self._frames), self._label)
        return Frames(self._frames.values[asked], self.pts_seconds[asked], asked)

    def close(self) -> None:
        pass


class ArrayFrames:
    """Frames of an `.npy` file: uint8, floats in their own unit, or 16-bit depth. Only requested rows are read."""

    def __init__(
        self,
        source: str | os.PathLike[str] | bytes,
        *,
        fps: float | None = None,
        modality: str = "video",
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._array, self._modality = ArrayFile(source, limits=limits), modality
        self._notes: tuple[str, ...] = ()
        try:
            self.shape = image_shape(self._array.shape, self._array.label, modality)
            count, height, width, _ = self.shape
            limits.check("max_frames", count, f"{self._array.label} has too many frames")
            limits.check("max_pixels", height * width, f"{self._array.label} has too many pixels per frame")
            timing = self._timing(source, fps, limits)
        except BaseException:
            self._array.close()
            raise
        self.pts_seconds, self.duration_seconds = timing.pts_seconds, timing.duration_seconds

    def _timing(self, source: str | os.PathLike[str] | bytes, fps: float | None, limits: Limits) -> Timing:
        label = self._array.label
        if isinstance(source, bytes):
            return Timing(self.shape[0], fps=fps, pts_seconds=None, label=label)
        return read_timing(Path(f"{os.fspath(source)}.json"), self.shape[0], fps=fps, label=label, limits=limits)

    @property
    def notes(self) -> list[str]:
        return list(self._notes)

    def read(self, indices: Sequence[int] | np.ndarray) -> Frames:
        asked = check_indices(indices, self.shape[0], self._array.label)
        is_whole = len(self._array.shape) == 2 or (len(self._array.shape) == 3 and self.shape[0] == 1)
        values = self._array.read_all()[None][asked] if is_whole else self._array.read_rows(asked)
        values = values.reshape(len(asked), *self.shape[1:])
        values, self._notes = in_known_unit(values, self._modality, self._array.label)
        return Frames(values, self.pts_seconds[asked], asked)

    def close(self) -> None:
        self._array.close()
