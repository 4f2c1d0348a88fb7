"""Motion vectors stored by the codec, read directly from the decoder at almost no cost."""

# Axes: M vectors of a frame, h rows and w columns of a grid of cells

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np

from vidweave.errors import MediaTypeError
from vidweave.media.container import Deadline
from vidweave.media.decoder import PacketDecoder
from vidweave.media.guards import GuardedFile
from vidweave.media.limits import Limits
from vidweave.media.orientation import Orientation, orientation_of
from vidweave.media.packets import PacketIndex, Run
from vidweave.media.video import VideoReader

__all__ = ["Displacement", "NoVectorsError", "codec_vectors", "estimated_vectors"]

_CELL = 8  # pixels; smaller blocks share a cell, by area
_ENOUGH_INTER = 30  # predicted frames without vectors after which a codec is assumed to have none
_ENOUGH_KEYS = 300  # consecutive keyframes after which a file is assumed to have nothing else
_OPTIONS = {"flags2": "+export_mvs", "skip_loop_filter": "all"}  # the loop filter changes pixels, never vectors
_ESTIMATION_PIXELS = 256  # long side of frames that are encoded only to get vectors
_B_FRAME = 3  # FFmpeg's number of the frame type B


class NoVectorsError(MediaTypeError):
    """The codec of a file has no motion vectors, or all its frames are keyframes."""


@dataclass(frozen=True, eq=False)
class Displacement:
    """Displacement from `start` to `end` (seconds): (2, h, w), right and down, as shares of the frame size."""

    start: float
    end: float
    grid: np.ndarray


def codec_vectors(
    reader: VideoReader, *, limits: Limits, start: float = 0.0, end: float = np.inf, is_sparse: bool = False
) -> Iterator[Displacement]:
    """Yield displacements between successive frames of a video file, in time order, from `start` to `end` seconds.

    A vector gives the source of a block and whether it is in the past or the future, but not the distance to that frame.
    It is assumed to be the nearest non-B frame: correct for ordinary streams, too slow or too fast by the ratio of the
    distances where an encoder used another one. Blocks without a vector (keyframes, new content) count as still.

    Args:
        is_sparse: Skip frames from which no other is predicted, without decoding them. Motion is then given by fewer and
            longer steps.

    Raises:
        NoVectorsError: the codec has none; raised as soon as that is known.
        MediaLimitError: above `Limits.max_decode_seconds`.
    """
    index, seconds = reader.index, reader.pts_seconds
    deadline = Deadline(limits, reader.label)
    first = max(0, int(np.searchsorted(seconds, start)) - 1)
    with GuardedFile(reader.source, limits=limits) as file:
        decoder = PacketDecoder(file, limits, num_threads=1, options=_OPTIONS)
        run = Run(_restart(decoder, index, first), len(index.packet_pts) - 1, frozenset())
        try:
            frames = decoder.frames(index, run, skips=is_sparse and index.has_own_pts)
            timed = ((float(seconds[number]), frame) for number, frame in frames)
            yield from _displacements(_until(timed, end, deadline), reader.label, reader.codec, start)
        finally:
            decoder.close()


def _restart(decoder: PacketDecoder, index: PacketIndex, frame: int) -> int:
    """Return the packet of the last keyframe at or before `frame` at which decoding can start."""
    if not index.has_own_pts:
        return 0
    keys = index.key_position[: index.key_before(frame) + 1].tolist()
    return next((key for key in reversed(keys) if decoder.is_restart(index, key)), 0)


def estimated_vectors(
    frames: Iterator[tuple[float, np.ndarray]], label: str, *, start: float = 0.0
) -> Iterator[Displacement]:
    """Estimate displacements between frames without vectors by encoding them in memory at a small size.

    Args:
        frames: (seconds, (H, W, 3) uint8) in time order.
    """
    yield from _displacements(_encoded(frames), label, "mpeg4", start)


# ---- decoding


def _until(timed: Iterator[tuple[float, Any]], end: float, deadline: Deadline) -> Iterator[tuple[float, Any]]:
    """Yield frames up to `end` seconds, and the next frame from which earlier B frames may have been predicted."""
    for time, frame in timed:
        deadline.check()
        yield time, frame
        if time >= end and int(frame.pict_type) != _B_FRAME:
            return


def _encoded(frames: Iterator[tuple[float, np.ndarray]]) -> Iterator[tuple[float, Any]]:
    """Yield (seconds, decoded frame with vectors): MPEG-4, each frame predicted from the previous one."""
    encoder: Any = None
    decoder: Any = av.CodecContext.create("mpeg4", "r")
    decoder.options = {"flags2": "+export_mvs"}
    times: list[float] = []
    for time, rgb in frames:
        if encoder is None:
            encoder = _small_encoder(*rgb.shape[:2])
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        frame = frame.reformat(encoder.width, encoder.height, format="yuv420p")
        frame.pts, frame.time_base = len(times), encoder.time_base
        times.append(time)
        for packet in encoder.encode(frame):
            yield from ((times[out.pts], out) for out in decoder.decode(packet))
    if encoder is not None:
        for packet in encoder.encode(None):
            yield from ((times[out.pts], out) for out in decoder.decode(packet))
        yield from ((times[out.pts], out) for out in decoder.decode(None))


def _small_encoder(height: int, width: int) -> Any:
    scale = min(1.0, _ESTIMATION_PIXELS / max(height, width))
    encoder: Any = av.CodecContext.create("mpeg4", "w")
    encoder.height, encoder.width = (max(16, round(side * scale / 16) * 16) for side in (height, width))
    encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, 25), Fraction(25, 1)
    encoder.gop_size, encoder.max_b_frames = 600, 0
    encoder.options = {"flags": "+qscale", "global_quality": str(4 * 118), "motion_est": "epzs"}
    return encoder


# ---- vectors → displacements


Sums = tuple[np.ndarray, np.ndarray]  # displacement times area (2, h, w), and area (h, w)


@dataclass(eq=False)
class _PredictedFrame:
    """A predicted frame: its display time, the previous one, and the sources of its blocks."""

    previous: float
    time: float
    past: Sums
    future: Sums
    orientation: Orientation

    def rate(self, before: float, after: float | None) -> np.ndarray:
        """(2, h, w) displacement per second, from vectors to the frames at `before` and `after` seconds."""
        total, area = self.past[0] / max(self.time - before, 1e-9), self.past[1]
        if after is not None and after > self.time:
            total, area = total - self.future[0] / (after - self.time), area + self.future[1]
        return total / np.maximum(area, _CELL * _CELL)

    def moved(self, rate: np.ndarray) -> Displacement:
        """Return the displacement in the frame's own interval."""
        grid = _oriented(rate * (self.time - self.previous), self.orientation)
        return Displacement(self.previous, self.time, grid.astype(np.float32))


def _displacements(timed: Iterator[tuple[float, Any]], label: str, codec: str, start: float) -> Iterator[Displacement]:
    evidence = _Evidence(label, codec)
    waiting: list[_PredictedFrame] = []  # B frames whose later neighbor is not known yet
    previous = anchor = None  # times of the last frame, and of the last non-B frame
    for time, frame in timed:
        vectors = frame.side_data.get("MOTION_VECTORS")
        evidence.add(frame, vectors)
        is_b = int(frame.pict_type) == _B_FRAME
        if previous is not None and anchor is not None and time > previous:
            rows = vectors.to_ndarray() if vectors is not None else None
            predicted = _PredictedFrame(previous, time, *_by_direction(rows, frame), orientation_of(frame))
            waiting.append(predicted)
            if not is_b:
                yield from _released(waiting, anchor, time, start)
        previous = time
        anchor = anchor if is_b else time
    if anchor is not None:
        yield from _released(waiting, anchor, None, start)
    evidence.settle()


def _released(
    waiting: list[_PredictedFrame], anchor: float, later: float | None, start: float
) -> Iterator[Displacement]:
    """Yield displacements of B frames between those at `anchor` and `later`, and of the one at `later` itself."""
    last = waiting[-1].rate(anchor, None) if waiting and later is not None else None
    for predicted in waiting:
        rate = last if last is not None and predicted.time == later else predicted.rate(anchor, later)
        # Some decoders (MPEG-4) give zeros for B frames: the motion between their neighbors is then distributed over them.
        rate = last if last is not None and not rate.any() and rate.shape == last.shape else rate
        if predicted.time > start:
            yield predicted.moved(rate)
    waiting.clear()


def _by_direction(rows: np.ndarray | None, frame: Any) -> tuple[Sums, Sums]:
    """Sum the vectors into the past, and into the future."""
    shape = (-(-frame.height // _CELL), -(-frame.width // _CELL))
    if rows is None:
        empty = np.zeros((2, *shape)), np.zeros(shape)
        return empty, empty
    if int(frame.pict_type) != _B_FRAME:  # one vector per block: still blocks add nothing
        rows = rows[(rows["motion_x"] != 0) | (rows["motion_y"] != 0)]
    size = np.array([frame.width, frame.height], dtype=np.float64)
    is_past = rows["source"] < 0
    return _paint(rows[is_past], shape, size), _paint(rows[~is_past], shape, size)


def _paint(rows: np.ndarray, shape: tuple[int, int], size: np.ndarray) -> Sums:
    """Rasterize vectors to cells. A vector points from its block to the source, opposite to the motion."""
    cells = shape[0] * shape[1]
    if not len(rows):
        return np.zeros((2, *shape)), np.zeros(shape)
    wide, high = rows["w"].astype(np.int64), rows["h"].astype(np.int64)
    across, down = np.maximum(wide // _CELL, 1), np.maximum(high // _CELL, 1)  # cells covered by a block
    parts = across * down
    block = np.repeat(np.arange(len(rows)), parts)
    part = np.arange(len(block)) - np.repeat(np.cumsum(parts) - parts, parts)
    x = (rows["dst_x"] - wide // 2)[block] // _CELL + part % across[block]
    y = (rows["dst_y"] - high // 2)[block] // _CELL + part // across[block]
    inside = (x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0])
    cell = (y * shape[1] + x)[inside]
    pixels = (np.minimum(wide, _CELL) * np.minimum(high, _CELL)).astype(np.float64)
    scale = -pixels / np.maximum(rows["motion_scale"], 1)
    total = [
        np.bincount(cell, (rows[name] * scale / side)[block][inside], cells)
        for name, side in zip(("motion_x", "motion_y"), size, strict=True)
    ]
    area = np.bincount(cell, pixels[block][inside], cells)
    return np.stack(total).reshape(2, *shape), area.reshape(shape)


def _oriented(grid: np.ndarray, orientation: Orientation) -> np.ndarray:
    """Rotate and mirror the grid (2, h, w) like the frame: positions and directions."""
    if orientation.is_mirrored:
        grid = np.stack([-grid[0], grid[1]])[:, :, ::-1]
    for _ in range(orientation.quarters):
        grid = np.rot90(np.stack([grid[1], -grid[0]]), axes=(1, 2))
    return grid


class _Evidence:
    """Track whether the decoder provides vectors."""

    def __init__(self, label: str, codec: str) -> None:
        self._label, self._codec = label, codec
        self._keys = self._inter = 0
        self._is_found = False

    def add(self, frame: Any, vectors: Any) -> None:
        self._is_found = self._is_found or vectors is not None
        if int(frame.pict_type) == 1 or frame.key_frame:
            self._keys += 1
        else:
            self._inter += 1
        if self._inter >= _ENOUGH_INTER or self._keys >= _ENOUGH_KEYS:
            self.settle()

    def settle(self) -> None:
        """Raise NoVectorsError if there were none among at least two frames."""
        if self._is_found or self._keys + self._inter < 2:
            return
        why = "has no motion vectors" if self._inter else "has only keyframes here, which have no motion vectors"
        raise NoVectorsError(
            f"{self._label}: the codec {self._codec!r} {why}; estimate them (MotionSpec.fallback='reencode'), or use"
            " frame differences (MotionSpec.source='frame_differences')"
        )
