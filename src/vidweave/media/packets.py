"""What a video stream really holds: one demux pass over its packets, no decoding, no trust in header numbers."""

# Axes: P packets in decode order, N pictures in presentation order, K keyframes

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av.error
import numpy as np

from vidweave.errors import MediaDecodeError
from vidweave.media.container import Deadline
from vidweave.media.limits import Limits

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["PacketIndex", "Run", "index_packets"]

_MIN_GAP = 6  # packets to skip before a seek (with its flush and refill) costs less than decoding on


@dataclass(frozen=True)
class Run:
    """Packets `start`..`stop` (decode order, both included), decoded in one go for the pictures `wanted` (ticks)."""

    start: int
    stop: int
    wanted: frozenset[int]


@dataclass(frozen=True, eq=False)
class PacketIndex:
    """Timestamps and keyframes of one stream.

    Attributes:
        packet_pts: (P,) int64 ticks in decode order.
        pts: (N,) int64 ticks of the pictures that are shown, ascending.
        position: (N,) int64, the packet of each of them.
        key_pts, key_position: (K,) int64, ascending in time.
        end: Ticks at which the last picture ends.
        has_own_pts: False where timestamps do not name pictures (none, or repeated, or AVI's decode order): then the
            n-th picture that comes out of the decoder is picture n, and only decoding from the start finds it.
        num_flagged: Packets that the container itself marks as corrupt.
        stopped: FFmpeg's reason if reading ended with an error.
    """

    packet_pts: np.ndarray
    pts: np.ndarray
    position: np.ndarray
    key_pts: np.ndarray
    key_position: np.ndarray
    end: int
    has_own_pts: bool
    num_flagged: int
    stopped: str | None

    def runs(self, indices: np.ndarray) -> list[Run]:
        """How to decode pictures `indices` (ascending): few runs, each from a keyframe, merged where a seek is no gain."""
        if not self.has_own_pts:
            return [Run(0, len(self.packet_pts) - 1, frozenset())]
        runs: list[list[Any]] = []
        for pts, position in zip(self.pts[indices].tolist(), self.position[indices].tolist(), strict=True):
            key = int(np.searchsorted(self.key_pts, pts, side="right")) - 1
            start = min(int(self.key_position[key]), position) if key >= 0 else 0
            if runs and start <= runs[-1][1] + _MIN_GAP:
                runs[-1][1] = max(runs[-1][1], position)
                runs[-1][2].append(pts)
            else:
                runs.append([start, position, [pts]])
        return [Run(start, stop, frozenset(wanted)) for start, stop, wanted in runs]

    def around(self, index: int) -> tuple[int, int]:
        """Packets from the keyframe before picture `index` to the end of the group of pictures after it."""
        key = int(np.searchsorted(self.key_pts, self.pts[index], side="right")) - 1
        start = int(self.key_position[key]) if key >= 0 else 0
        later = self.key_position[self.key_position > self.position[index]]
        stop = int(later[1]) - 1 if len(later) > 1 else len(self.packet_pts) - 1
        return start, stop


def index_packets(container: InputContainer, stream: VideoStream, label: str, limits: Limits) -> PacketIndex:
    """Read all packets of `stream` once.

    Raises:
        MediaDecodeError: there is no picture.
        MediaLimitError: above `Limits.max_frames` or `Limits.max_decode_seconds`.
    """
    times: list[int | None] = []
    ends: list[int] = []
    is_key: list[bool] = []
    is_shown: list[bool] = []
    num_flagged = 0
    stopped = None
    has_hidden = stream.codec_context.name == "vp8"
    deadline = Deadline(limits, label)
    try:
        for packet in container.demux(stream):
            if not packet.size:
                continue
            if len(times) % 4_096 == 0:
                deadline.check()
                limits.check("max_frames", len(times), f"{label} has too many pictures")
            time = packet.pts if packet.pts is not None else packet.dts
            times.append(time)
            ends.append((time or 0) + (packet.duration or 0))
            is_key.append(packet.is_keyframe)
            # bit 4 of a VP8 frame tag: reference pictures that are never shown travel in packets of their own
            hidden = packet.is_discard or (has_hidden and not memoryview(packet)[0] & 0x10)
            is_shown.append(not hidden)
            num_flagged += packet.is_corrupt
    except (av.error.FFmpegError, EOFError) as error:
        stopped = getattr(error, "strerror", None) or type(error).__name__
    if not any(is_shown):
        raise MediaDecodeError(f"{label} has a video stream without a single picture; it is truncated or empty")
    limits.check("max_frames", len(times), f"{label} has too many pictures")
    return _make_index(times, ends, is_key, is_shown, _reorders(container, stream), num_flagged, stopped, stream)


def _reorders(container: InputContainer, stream: VideoStream) -> bool:
    """AVI gives decode order as presentation order for codecs that reorder pictures."""
    return container.format.name == "avi" and stream.codec_context.name in ("h264", "hevc")


def _make_index(
    times: list[int | None],
    ends: list[int],
    is_key: list[bool],
    is_shown: list[bool],
    reorders: bool,
    num_flagged: int,
    stopped: str | None,
    stream: VideoStream,
) -> PacketIndex:
    shown = np.array(is_shown)
    missing = any(time is None for time in times)
    if missing:  # count in the stream's own average rate: no time is invented for a stream that has timestamps
        step = _ticks_per_picture(stream)
        times = [i * step for i in range(len(times))]
        ends = [time + step for time in times if time is not None]
    packet_pts = np.array(times, dtype=np.int64)
    position = np.flatnonzero(shown)
    position = position[np.argsort(packet_pts[position], kind="stable")]
    pts = packet_pts[position]
    keys = np.flatnonzero(np.array(is_key))
    keys = keys[np.argsort(packet_pts[keys], kind="stable")]
    gaps = np.diff(pts)
    end = max(np.array(ends)[shown].max(), pts[-1] + (int(np.median(gaps)) if len(gaps) else 0))
    own = not missing and not reorders and bool((gaps > 0).all())
    return PacketIndex(packet_pts, pts, position, packet_pts[keys], keys, int(end), own, num_flagged, stopped)


def _ticks_per_picture(stream: VideoStream) -> int:
    rate = stream.average_rate or stream.guessed_rate
    if not rate or not stream.time_base:
        raise MediaDecodeError(
            "the video stream has neither timestamps nor a frame rate; write it into another container"
        )
    return max(1, round(1 / (Fraction(rate) * stream.time_base)))
