"""Motion of any source as maps on one clock: codec vectors, flow, frame differences, or pairs of frames.

The same function serves training, evaluation and demo: rate and units are those of the `MotionSpec`, not of the file.
"""

# Axes: T steps of 1/fps, N frames of the source, H height, W width, h and w of a source's own grid

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from vidweave.errors import MediaTypeError
from vidweave.media.frames import FrameSource
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.media.plan import spread
from vidweave.media.vectors import Displacement, NoVectorsError, codec_vectors, estimated_vectors
from vidweave.media.video import VideoReader
from vidweave.types import MotionSpec, Summarized

__all__ = ["MotionMaps", "motion_seconds", "read_motion"]

_CHUNK_BYTES = 2**25  # of frames or flow held at a time
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
_DENSE = 8  # frames per step from which on unreferenced frames are skipped: they add no information
_MOST_WAITING = 8  # steps accumulated at a time
_EPSILON = 1e-6  # of a step: tolerance for rounding of times


@dataclass(frozen=True, eq=False, repr=False)
class MotionMaps(Summarized):
    """Result of `read_motion`: ready for an encoder with this spec.

    Attributes:
        values: (T, 2, H, W) float32, or (T, 2, 3, H, W) uint8 for the source `pictures`.
        seconds: (T, 2) float64, start and end of each step.
        notes: Notes for the user.
    """

    values: np.ndarray
    seconds: np.ndarray
    notes: list[str] = field(default_factory=list)


def read_motion(
    source: FrameSource,
    spec: MotionSpec,
    span: tuple[float, float] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    label: str = "the clip",
) -> MotionMaps:
    """Compute motion maps of a source of frames (or of flow), one per step of 1/fps from first to last frame.

    Motion between two frames is distributed over the steps that it spans, which handles variable rates. A source with one
    frame has one map of zeros. Memory: the maps, and a few frames.

    Args:
        span: Start and end in seconds; steps begin at its start.

    Raises:
        MediaTypeError: values that are not flow, or a codec without vectors (`fallback="error"`).
        MediaLimitError: maps above `Limits.max_decoded_bytes`, or above `max_decode_seconds`.
    """
    clock = _clock(source, spec, span)
    steps = _Steps(clock, spec, limits, label)
    notes = list(clock.notes)
    if spec.source == "motion_vectors":
        notes += _add_vectors(steps, source, limits, label)
    elif spec.source == "flow":
        for moved in _flow(source, steps, label):
            steps.add(moved)
    else:
        notes += _add_frames(steps, source, label)
    steps.settle()
    if spec.source != "pictures" and clock.end > clock.first and not steps.values.any():
        notes.append(f"motion: nothing moves in {label}")
    return MotionMaps(steps.finished(), clock.seconds, [*source.notes, *notes])


@dataclass(frozen=True, eq=False)
class _Clock:
    """Steps of 1/fps from `first` to `end` seconds: `count` of them, of which `kept` (T,) are computed."""

    first: float
    end: float
    count: int
    kept: np.ndarray
    fps: float

    @property
    def seconds(self) -> np.ndarray:
        starts = self.first + self.kept / self.fps
        return np.stack([starts, starts + 1 / self.fps], axis=1)

    @property
    def notes(self) -> list[str]:
        notes = []
        if self.end <= self.first:
            notes.append("motion: the clip has one frame, so there is no motion")
        if len(self.kept) < self.count:
            notes.append(f"motion: {len(self.kept)} of {self.count} maps are used, evenly spaced (MotionSpec.max_maps)")
        return notes


def _clock(source: FrameSource, spec: MotionSpec, span: tuple[float, float] | None) -> _Clock:
    times = source.pts_seconds
    end = source.duration_seconds if spec.source == "flow" else float(times[-1])
    first = max(float(times[0]), span[0]) if span else float(times[0])
    end = max(first, min(end, span[1]) if span else end)
    count = max(1, math.ceil((end - first) * spec.fps - _EPSILON))
    return _Clock(first, end, count, spread(min(count, spec.max_maps), count), spec.fps)


def motion_seconds(source: FrameSource, spec: MotionSpec, span: tuple[float, float] | None = None) -> np.ndarray:
    """Return start and end (T, 2) of the maps of `read_motion`, without decoding."""
    return _clock(source, spec, span).seconds


class _Steps:
    """Accumulates the maps of a clock."""

    def __init__(self, clock: _Clock, spec: MotionSpec, limits: Limits, label: str) -> None:
        self.spec, self.first, self.end, self.count, self.kept = spec, clock.first, clock.end, clock.count, clock.kept
        self._slot = np.full(self.count, -1, dtype=np.int64)
        self._slot[self.kept] = np.arange(len(self.kept))
        is_pairs = spec.source == "pictures"
        shape = (len(self.kept), 2, *((3,) if is_pairs else ()), spec.height, spec.width)
        what = f"{label}: {len(self.kept)} motion maps of {spec.width}x{spec.height} would take too many bytes"
        limits.check("max_decoded_bytes", math.prod(shape) * (1 if is_pairs else 4), what)
        self.values = np.zeros(shape, dtype=np.uint8 if is_pairs else np.float32)
        self._waiting: dict[int, np.ndarray] = {}  # slot → displacement on a source's own grid

    def add(self, moved: Displacement) -> None:
        """Distribute a displacement over the steps that it spans."""
        begin, end = ((t - self.first) * self.spec.fps for t in (moved.start, moved.end))
        if end <= begin or not moved.grid.any():
            return
        for step in range(max(0, math.floor(begin + _EPSILON)), min(self.count, math.ceil(end - _EPSILON))):
            slot = self._slot[step]
            share = (min(end, step + 1) - max(begin, step)) / (end - begin)
            if slot >= 0 and share > 0:
                self._gather(int(slot), moved.grid * np.float32(share))

    def _gather(self, slot: int, grid: np.ndarray) -> None:
        """Accumulate on the source's own grid: it is resized to the map's size once per step, not once per frame."""
        waiting = self._waiting.get(slot)
        if waiting is not None and waiting.shape == grid.shape:
            waiting += grid
            return
        self._settle(() if waiting is None and len(self._waiting) < _MOST_WAITING else tuple(self._waiting))
        self._waiting[slot] = grid

    def _settle(self, slots: Iterable[int]) -> None:
        for slot in slots:
            self.values[slot] += self._fitted(self._waiting.pop(slot))

    def settle(self) -> None:
        """Write all accumulated displacements into `values`."""
        self._settle(tuple(self._waiting))

    def clear(self) -> None:
        """Discard all accumulated displacements."""
        self._waiting.clear()
        self.values[:] = 0

    def _fitted(self, grid: np.ndarray) -> np.ndarray:
        """(2, h, w) as shares of the frame size → (2, H, W) pixels of the map."""
        fitted = _resized(grid, self.spec.height, self.spec.width)
        return fitted * np.array([self.spec.width, self.spec.height], dtype=np.float32)[:, None, None]

    def finished(self) -> np.ndarray:
        """Return the maps, normalized by the spec (VideoTGB's training rule: by the clip's largest magnitude)."""
        self.settle()
        if self.spec.normalize == "none" or self.spec.source == "pictures":
            return self.values
        largest = float(np.sqrt(np.square(self.values).sum(1)).max())
        return self.values / np.float32(largest + 1e-5)


def _resized(grid: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize (C, h, w) to (C, height, width) by averaging or repeating: the mean of all cells that a new cell touches."""
    if grid.shape[1:] == (height, width):
        return grid
    total = np.zeros((len(grid), grid.shape[1] + 1, grid.shape[2] + 1))
    total[:, 1:, 1:] = grid.cumsum(1, dtype=np.float64).cumsum(2)
    top, bottom = _borders(grid.shape[1], height)
    left, right = _borders(grid.shape[2], width)
    strips = total[:, bottom] - total[:, top]
    area = (bottom - top)[:, None] * (right - left)
    return ((strips[:, :, right] - strips[:, :, left]) / area).astype(np.float32)


def _borders(cells: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    steps = np.arange(new)
    return steps * cells // new, -(-(steps + 1) * cells // new)


# ---- sources


def _add_vectors(steps: _Steps, source: FrameSource, limits: Limits, label: str) -> list[str]:
    """Use vectors of the codec, or estimated ones with a note where there are none."""
    if steps.end <= steps.first:
        return []
    why = f"{label} is not a video file, so it has no motion vectors"
    if isinstance(source, VideoReader):
        try:
            dense = len(source.pts_seconds) / max(source.duration_seconds, 1e-9) / steps.spec.fps
            is_sparse = dense >= _DENSE
            for moved in codec_vectors(source, limits=limits, start=steps.first, end=steps.end, is_sparse=is_sparse):
                steps.add(moved)
            return []
        except NoVectorsError as error:
            why = str(error).partition(";")[0]
            steps.clear()
    if steps.spec.fallback == "error":
        raise MediaTypeError(
            f"{why}; estimate them (MotionSpec.fallback='reencode'), or use frame differences"
            " (MotionSpec.source='frame_differences')"
        )
    targets = steps.first + np.arange(steps.count + 1) / steps.spec.fps
    lost = _Lost()
    for moved in estimated_vectors(_on_show(source, targets.clip(max=steps.end), None, lost), label):
        steps.add(moved)
    rate = f"{steps.spec.fps:g} frames per second"
    return [f"motion: {why}; they were estimated by re-encoding {rate} as MPEG-4", *lost.notes]


def _flow(source: FrameSource, steps: _Steps, label: str) -> Iterator[Displacement]:
    """Yield flow maps (N, H, W, 2) in pixels from each frame to the next."""
    times = source.pts_seconds
    ends = np.append(times[1:], max(source.duration_seconds, float(times[-1])))
    inside = np.flatnonzero((ends > steps.first) & (times < steps.end))
    if len(inside) == 0:
        return
    channels = source.read(inside[:1]).values
    if channels.shape[3] != 2 or channels.dtype.kind != "f":
        raise MediaTypeError(
            f"{label} is not flow: expected floats (N, H, W, 2), right and down in pixels, got {channels.dtype} "
            f"{channels.shape}"
        )
    for chunk in _chunks(inside, channels.nbytes):
        for index, flow in zip(chunk.tolist(), source.read(chunk).values, strict=True):
            height, width = flow.shape[:2]
            grid = flow.transpose(2, 0, 1).astype(np.float32) / np.array([width, height], np.float32)[:, None, None]
            yield Displacement(float(times[index]), float(ends[index]), grid)


def _add_frames(steps: _Steps, source: FrameSource, label: str) -> list[str]:
    """Use frame differences, or pairs of frames: for each kept step, the frames displayed at its start and end."""
    edges = np.unique(np.concatenate([steps.kept, steps.kept + 1]))
    targets = (steps.first + edges / steps.spec.fps).clip(max=max(steps.end, steps.first))
    lost = _Lost()
    size = (steps.spec.height, steps.spec.width)
    slots = {int(step): slot for slot, step in enumerate(steps.kept)}
    before: tuple[int, np.ndarray] | None = None
    shown = _on_show(source, targets, size, lost)
    for edge, (_, frame) in zip(edges.tolist(), shown, strict=True):
        now = frame if steps.spec.source == "pictures" else (frame.astype(np.float32) / 255) @ _LUMA
        if before is not None and before[0] == edge - 1 and before[0] in slots:
            steps.values[slots[before[0]]] = _change(before[1], now, steps.spec.source)
        elif edge in slots and steps.spec.source == "pictures":
            steps.values[slots[edge]] = np.stack([now.transpose(2, 0, 1)] * 2)
        before = (edge, now)
    return lost.notes


def _change(before: np.ndarray, now: np.ndarray, source: str) -> np.ndarray:
    if source == "pictures":
        return np.stack([before, now]).transpose(0, 3, 1, 2)
    change = now - before
    return np.stack([change.clip(min=0), -change.clip(max=0)])


@dataclass
class _Lost:
    """Frames that could not be decoded and were replaced by the ones before them."""

    count: int = 0

    @property
    def notes(self) -> list[str]:
        return [f"motion: {self.count} frames could not be decoded; the previous ones are used"] if self.count else []


def _on_show(
    source: FrameSource, targets: np.ndarray, size: tuple[int, int] | None, lost: _Lost
) -> Iterator[tuple[float, np.ndarray]]:
    """Yield (seconds, frame (H, W, 3) uint8) displayed at each of the ascending times `targets`, one at a time."""
    times = source.pts_seconds
    indices = (np.searchsorted(times, targets + 1e-6, side="right") - 1).clip(0, len(times) - 1)
    unique = np.unique(indices)
    frames = _each(source, unique, size)
    held: tuple[int, np.ndarray] | None = None
    ahead = next(frames, None)
    for time, index in zip(targets.tolist(), indices.tolist(), strict=True):
        while ahead is not None and ahead[0] <= index:
            held, ahead = ahead, next(frames, None)
        if held is None:  # the first ones are lost: use the first available one
            held = ahead
        if held is None:
            raise MediaTypeError(f"none of {len(unique)} frames can be decoded")
        lost.count += held[0] != index
        yield time, held[1]


def _each(source: FrameSource, indices: np.ndarray, size: tuple[int, int] | None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield frames of ascending indices, one at a time, RGB, resized to `size` (height, width)."""
    if isinstance(source, VideoReader):
        frames: Iterator[tuple[int, np.ndarray]] = source.each(indices)
    else:
        frames = (
            (index, frame)
            for chunk in _chunks(indices, source.read(indices[:1]).values.nbytes)
            for index, frame in zip(chunk.tolist(), source.read(chunk).values, strict=True)
        )
    for index, frame in frames:
        yield index, _rgb(frame, size)


def _rgb(frame: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    if frame.dtype != np.uint8 or frame.shape[2] not in (1, 3):
        raise MediaTypeError(
            f"motion needs 8-bit frames, got {frame.dtype} of shape {frame.shape}; give flow as the modality flow"
        )
    rgb = np.repeat(frame, 3, axis=2) if frame.shape[2] == 1 else frame
    if size is None or rgb.shape[:2] == size:
        return rgb
    return np.asarray(Image.fromarray(rgb).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _chunks(indices: np.ndarray, each_bytes: int) -> Iterator[np.ndarray]:
    step = max(1, _CHUNK_BYTES // max(1, each_bytes))
    for first in range(0, len(indices), step):
        yield indices[first : first + step]
