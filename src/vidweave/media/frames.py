"""Everything that gives pictures by index: carriers in memory, `.npy` files, folders of picture files."""

# Axes: N pictures of the source, M asked for, H height, W width, K channels

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from vidweave.errors import MediaDecodeError, MediaError, MediaTypeError
from vidweave.media.arrays import ArrayFile
from vidweave.media.guards import GuardedFile, describe, guard_folder, reading
from vidweave.media.image import check_picture_values, picture_shape, read_picture
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.media.video import check_indices
from vidweave.types import Frames

__all__ = ["ArrayFrames", "FolderFrames", "FrameSource", "HeldFrames", "Timing", "read_timing"]

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
FOLDER_TIMING = "frames.json"
_MAX_TIMING_BYTES = 64 * 2**20


class FrameSource(Protocol):
    """Pictures by index, from wherever they come. `VideoReader` is one, too."""

    pts_seconds: np.ndarray  # (N,) float64
    duration_seconds: float

    @property
    def notes(self) -> list[str]: ...

    def read(self, indices: Sequence[int] | np.ndarray) -> Frames:
        """Frames (M, H, W, K) of the indices, in the order asked for."""
        ...

    def close(self) -> None: ...


class Timing:
    """When each of `count` pictures is shown, from a rate or from a list of times."""

    def __init__(self, count: int, *, fps: float | None, pts_seconds: Sequence[float] | None, label: str) -> None:
        if pts_seconds is not None:
            times = _floats(pts_seconds)
            if times is None or len(times) != count or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
                raise MediaError(f"{label}: pts_seconds must be {count} ascending numbers, one per picture")
            self.pts_seconds = times
            gap = float(np.median(np.diff(times))) if count > 1 else 0.0
            self.duration_seconds = float(times[-1]) + gap
            return
        if count == 1 and fps is None:
            self.pts_seconds, self.duration_seconds = np.zeros(1), 0.0
            return
        if fps is None:
            raise MediaError(
                f"{label} holds {count} pictures and no frame rate; give fps, or write"
                f' {{"fps": …}} or {{"pts_seconds": […]}} into {FOLDER_TIMING} (folder) or NAME.npy.json (array)'
            )
        if not isinstance(fps, (int, float)) or isinstance(fps, bool) or not math.isfinite(fps) or fps <= 0:
            raise MediaError(f"{label}: fps must be a positive number, got {fps!r}")
        self.pts_seconds = np.arange(count) / float(fps)
        self.duration_seconds = count / float(fps)


def read_timing(path: Path, count: int, *, fps: float | None, label: str, limits: Limits) -> Timing:
    """Timing of `count` pictures: `fps` if given, else the JSON file at `path`, else an error that says what to give."""
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
        raise MediaDecodeError(f"{file.label} must be a mapping with 'fps' or 'pts_seconds'")
    return Timing(count, fps=data.get("fps"), pts_seconds=data.get("pts_seconds"), label=file.label)


def _floats(values: object) -> np.ndarray | None:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return array if array.ndim == 1 else None


class HeldFrames:
    """Pictures that are in memory already."""

    def __init__(self, frames: Frames, *, limits: Limits = DEFAULT_LIMITS, label: str = "the frames given") -> None:
        if not len(frames):
            raise MediaDecodeError(f"{label} are empty")
        check_picture_values(frames.values, label)
        limits.check(
            "max_pixels", frames.values.shape[1] * frames.values.shape[2], f"{label} have too many pixels per picture"
        )
        self._frames, self._label, self._limits = frames, label, limits
        self.pts_seconds = frames.pts_seconds
        gap = float(np.median(np.diff(frames.pts_seconds))) if len(frames) > 1 else 0.0
        self.duration_seconds = float(frames.pts_seconds[-1]) + gap

    @property
    def notes(self) -> list[str]:
        return (
            [f"{self._frames.num_lost} pictures were lost when the frames were decoded"]
            if self._frames.num_lost
            else []
        )

    def read(self, indices: Sequence[int] | np.ndarray) -> Frames:
        asked = check_indices(indices, len(self._frames), self._label)
        return Frames(self._frames.values[asked], self.pts_seconds[asked], asked)

    def close(self) -> None:
        pass


class ArrayFrames:
    """Pictures of an `.npy` file: uint8, or floats in their own unit. Only the rows asked for are read."""

    def __init__(
        self, source: str | os.PathLike[str] | bytes, *, fps: float | None = None, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._array = ArrayFile(source, limits=limits)
        try:
            self.shape = picture_shape(self._array.shape, self._array.label)
            count, height, width, _ = self.shape
            limits.check("max_frames", count, f"{self._array.label} has too many pictures")
            limits.check("max_pixels", height * width, f"{self._array.label} has too many pixels per picture")
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
        return []

    def read(self, indices: Sequence[int] | np.ndarray) -> Frames:
        asked = check_indices(indices, self.shape[0], self._array.label)
        is_whole = len(self._array.shape) == 2 or (len(self._array.shape) == 3 and self.shape[0] == 1)
        values = self._array.read_all()[None][asked] if is_whole else self._array.read_rows(asked)
        values = values.reshape(len(asked), *self.shape[1:])
        check_picture_values(values, self._array.label)
        return Frames(values, self.pts_seconds[asked], asked)

    def close(self) -> None:
        self._array.close()


class FolderFrames:
    """Picture files of a folder, in natural order of their names (2 before 10). The frame rate is never guessed."""

    def __init__(
        self, folder: str | os.PathLike[str], *, fps: float | None = None, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._folder, self._limits, self._label = guard_folder(folder, limits=limits), limits, describe(folder)
        self.files = list_pictures(self._folder, self._label, limits)
        timing = read_timing(
            self._folder / FOLDER_TIMING, len(self.files), fps=fps, label=f"the folder {self._label}", limits=limits
        )
        self.pts_seconds, self.duration_seconds = timing.pts_seconds, timing.duration_seconds

    @property
    def notes(self) -> list[str]:
        return []

    def read(self, indices: Sequence[int] | np.ndarray) -> Frames:
        asked = check_indices(indices, len(self.files), self._label)
        values: np.ndarray | None = None
        for slot, index in enumerate(asked.tolist()):
            picture = self._picture(index)
            if values is None:
                self._limits.check(
                    "max_decoded_bytes",
                    len(asked) * picture.size,
                    f"{self._label}: {len(asked)} pictures take too many bytes",
                )
                values = np.zeros((len(asked), *picture.shape), dtype=np.uint8)
            if picture.shape != values.shape[1:]:
                sizes = f"{picture.shape[1]}x{picture.shape[0]}, others {values.shape[2]}x{values.shape[1]}"
                raise MediaTypeError(
                    f"{describe(self.files[index])} is {sizes}; pictures of one folder must have one size"
                )
            values[slot] = picture
        assert values is not None
        return Frames(values, self.pts_seconds[asked], asked)

    def _picture(self, index: int) -> np.ndarray:
        with GuardedFile(self.files[index], limits=self._limits) as file:
            return read_picture(file, limits=self._limits)

    def close(self) -> None:
        pass


def list_pictures(folder: Path, label: str, limits: Limits) -> list[Path]:
    """Picture files directly in `folder`, in natural order; other files do not count, none at all is an error."""
    names: list[str] = []
    with reading(folder), os.scandir(folder) as entries:
        for seen, entry in enumerate(entries, start=1):
            limits.check("max_files", seen, f"the folder {label} holds too many files")
            if entry.name.lower().endswith(PICTURE_SUFFIXES) and not entry.name.startswith("."):
                names.append(entry.name)
    if not names:
        raise MediaTypeError(f"the folder {label} holds no picture files ({', '.join(PICTURE_SUFFIXES)})")
    return [folder / name for name in sorted(names, key=_natural)]


def _natural(name: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"([0-9]+)", name) if part]
