"""Image files with several frames as a video: animated WebP and PNG with their own times, TIFF pages at a given rate."""

# Axes: N frames of the file, M requested, H height, W width

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vidweave.errors import MediaTypeError
from vidweave.media.container import Deadline
from vidweave.media.frames import Timing, read_timing
from vidweave.media.guards import GuardedFile, describe
from vidweave.media.image import decoding_image, open_image, to_values
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.media.video import check_indices
from vidweave.types import Frames

__all__ = ["PageFrames"]

_DEFAULT_SECONDS = 0.1  # as browsers do for frames with duration 0


class PageFrames:
    """Frames of one image file. Nothing is kept between calls: each read decodes from the first page on."""

    def __init__(
        self,
        source: str | os.PathLike[str] | bytes,
        *,
        fps: float | None = None,
        modality: str = "video",
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._source, self._modality, self._limits, self._label = source, modality, limits, describe(source)
        self._notes: dict[str, None] = {}
        with GuardedFile(source, limits=limits) as file:
            image = open_image(file, limits=limits)
            with decoding_image(file, limits):
                self._count = getattr(image, "n_frames", 1)
            limits.check("max_frames", self._count, f"{self._label} has too many frames")
            has_times = image.format != "TIFF"
        timing = self._own_times() if has_times else self._given_times(fps)
        self.pts_seconds, self.duration_seconds = timing.pts_seconds, timing.duration_seconds

    @property
    def notes(self) -> list[str]:
        return list(self._notes)

    def read(self, indices: Sequence[int] | np.ndarray) -> Frames:
        asked = check_indices(indices, self._count, self._label)
        requested, values = set(asked.tolist()), None
        for page, image in self._pages(max(requested) + 1):
            if page not in requested:
                image.load()  # an animation builds each frame on the previous one
                continue
            image, notes = to_values(image, self._modality, self._label)
            self._notes |= dict.fromkeys(notes)
            if values is None:
                what = f"{self._label}: {len(asked)} frames take too many bytes"
                self._limits.check("max_decoded_bytes", len(asked) * image.nbytes, what)
                values = np.zeros((len(asked), *image.shape), image.dtype)
            if image.shape != values.shape[1:] or image.dtype != values.dtype:
                raise MediaTypeError(f"{self._label}: page {page} has another size or type than the pages before")
            values[asked == page] = image
        assert values is not None
        return Frames(values, self.pts_seconds[asked], asked)

    def _pages(self, count: int) -> Iterator[tuple[int, Image.Image]]:
        """Yield the first `count` pages, one at a time."""
        deadline = Deadline(self._limits, self._label)
        with GuardedFile(self._source, limits=self._limits) as file:
            image = open_image(file, limits=self._limits)
            with decoding_image(file, self._limits):
                for page in range(count):
                    deadline.check()
                    image.seek(page)
                    self._limits.check("max_pixels", image.width * image.height, f"{self._label} has too many pixels")
                    yield page, image

    def _own_times(self) -> Timing:
        """Read times from the durations in the file, in milliseconds."""
        shown = []
        for _, image in self._pages(self._count):
            image.load()
            shown.append(float(image.info.get("duration") or 0.0) / 1_000)
        if not all(shown):
            self._notes[f"{self._label}: frames without a duration are shown for {_DEFAULT_SECONDS} s"] = None
        seconds = np.array([duration or _DEFAULT_SECONDS for duration in shown])
        starts = np.concatenate([[0.0], np.cumsum(seconds)[:-1]])
        return Timing(self._count, fps=None, pts_seconds=starts, label=self._label, last_seconds=float(seconds[-1]))

    def _given_times(self, fps: float | None) -> Timing:
        if isinstance(self._source, bytes):
            return Timing(self._count, fps=fps, pts_seconds=None, label=self._label)
        path = Path(f"{os.fspath(self._source)}.json")
        return read_timing(path, self._count, fps=fps, label=self._label, limits=self._limits)

    def close(self) -> None:
        pass
