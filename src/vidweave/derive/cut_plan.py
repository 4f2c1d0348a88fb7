"""Plan the packets and timestamps of a cut, so that it decodes on its own and shows exactly the span."""

# Axes: P packets in decode order, N frames in presentation order

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np

from vidweave.errors import MediaError
from vidweave.media.packets import Run
from vidweave.media.video import VideoReader

__all__ = ["CutPlan", "plan_cut"]

_REORDER_FRAMES = 64  # more than any decoder buffers


@dataclass(frozen=True, kw_only=True)
class CutPlan:
    """Packets of a cut.

    Attributes:
        start, stop: First and last packet (decode order).
        times: Packet → (pts, dts) in stream ticks; the first displayed frame has pts 0.
        first_seconds: Source time at which the first frame of the cut is displayed.
        stop_seconds: Source time at which the last frame ends.
        hides_frames: Whether frames after the end are kept because others are predicted from them.
    """

    start: int
    stop: int
    times: dict[int, tuple[int, int]]
    first_seconds: float
    stop_seconds: float
    hides_frames: bool


def plan_cut(reader: VideoReader, start_seconds: float, end_seconds: float | None) -> CutPlan:
    """Plan a cut from the last keyframe at or before `start_seconds` to the last frame before `end_seconds`.

    Raises:
        MediaError: the video ends before the start.
    """
    index, seconds = reader.index, reader.pts_seconds
    if reader.duration_seconds <= start_seconds:
        raise MediaError(
            f"{reader.label} has no frame from {start_seconds} s on; it ends at {reader.duration_seconds:.3f} s"
        )
    count = len(seconds) if end_seconds is None else int(np.searchsorted(seconds, end_seconds - 1e-6))
    on_show = max(0, int(np.searchsorted(seconds, start_seconds + 1e-6, side="right")) - 1)
    if index.has_own_pts:
        pts, frame = index.packet_pts, index.frame
        position = reader.restart_before(on_show)
    else:
        pts, frame = _decoded_order(reader, count)
        keys = [key for key in index.key_position.tolist() if 0 <= frame[key] <= on_show]
        position = max(keys, default=0)
    first = max(0, int(frame[position]))
    shown = np.flatnonzero((frame >= first) & (frame < max(count, first + 1)))
    stop = int(shown.max())
    # Frames displayed before the keyframe but stored after it are predicted from packets outside the cut.
    kept = [p for p in range(position, stop + 1) if not 0 <= frame[p] < first]
    times = _times(pts[kept] - index.pts[first])
    last = int(frame[shown].max())
    ends = reader.duration_seconds if last + 1 == len(seconds) else float(seconds[last + 1])
    return CutPlan(
        start=position,
        stop=stop,
        times=dict(zip(kept, times, strict=True)),
        first_seconds=float(seconds[first]),
        stop_seconds=ends,
        hides_frames=bool(((frame[kept] > last) | ((frame[kept] < 0) & (pts[kept] > index.pts[last]))).any()),
    )


def _decoded_order(reader: VideoReader, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ticks and frame numbers of all packets of a stream without usable timestamps, by decoding up to `count`."""
    index = reader.index
    pts, frame = np.full(len(index.packet_pts), index.end), np.full(len(index.packet_pts), -1)
    run = Run(0, len(index.packet_pts) - 1, frozenset())
    for number, decoded in islice(reader.decoder.frames(index, run), count + _REORDER_FRAMES):
        if decoded.pts is not None:  # the decoder identifies frames by their packets
            pts[decoded.pts], frame[decoded.pts] = index.pts[number], number
    return pts, frame


def _times(pts: np.ndarray) -> list[tuple[int, int]]:
    """Return (pts, dts) in decode order: dts strictly ascending, and never after pts."""
    ordered = np.sort(pts)
    ordered = np.maximum.accumulate(ordered - np.arange(len(ordered))) + np.arange(len(ordered))  # makes them distinct
    dts = ordered - max(0, int((ordered - pts).max()))
    return list(zip(pts.tolist(), dts.tolist(), strict=True))
