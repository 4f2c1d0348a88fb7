"""What a video stream really holds: one demux pass over its packets, no decoding, no trust in header numbers."""

# Axes: P packets in decode order, N frames in presentation order, K keyframes

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import av.error
import numpy as np

from vidweave.errors import MediaDecodeError
from vidweave.media.bitstream import FieldReader, Slice, is_hidden
from vidweave.media.container import Deadline
from vidweave.media.limits import Limits

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

__all__ = ["PacketIndex", "Run", "RunningClock", "index_packets"]

_MIN_GAP = 6  # packets to skip before a seek (with its flush and refill) costs less than decoding on
_JOINS_BACK = frozenset(("mpegts", "mpeg", "flv"))  # formats that are joined by appending, clocks and all
_JOINS_AHEAD = frozenset(("mpegts", "mpeg"))
_BACK_SECONDS, _AHEAD_SECONDS = 0.1, 10.0  # FFmpeg's thresholds: jumps of the clock that are no ordinary jitter
_PACKED = re.compile(rb"DivX\d+(?:Build|b)\d+p")  # MPEG-4: two frames in one packet, then an empty one
_NONE = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Run:
    """Packets `start`..`stop` (decode order, both included), decoded in one go for the packets `wanted`."""

    start: int
    stop: int
    wanted: frozenset[int]


@dataclass(frozen=True, eq=False)
class PacketIndex:
    """Packets, frames and keyframes of one stream. A frame is named by its packet, since timestamps may repeat.

    Attributes:
        file_pts: (P,) int64 ticks in decode order, as the file gives them.
        sizes, offsets: (P,) int64 bytes, to recognize packets after a seek.
        packet_pts: (P,) int64 ticks on one clock that never jumps back.
        pts: (N,) int64 ticks of the frames that are shown, ascending.
        position, last: (N,) int64, the first and the last packet of each of them (two for a pair of fields).
        frame: (P,) int64, the frame that a packet belongs to; -1 if it is not shown.
        key_pts, key_position: (K,) int64, ascending in time.
        end: Ticks at which the last frame ends.
        has_own_pts: False where timestamps do not tell the order of the frames (none, or AVI's decode order): then the
            n-th frame that comes out of the decoder is frame n, and only decoding from the start finds it.
        num_joins: Places where the clock of the file jumps, as in recordings that were joined.
        num_flagged: Packets that the container itself marks as corrupt.
        stopped: FFmpeg's reason if reading ended with an error.
    """

    file_pts: np.ndarray
    sizes: np.ndarray
    offsets: np.ndarray
    packet_pts: np.ndarray
    pts: np.ndarray
    position: np.ndarray
    last: np.ndarray
    frame: np.ndarray
    key_pts: np.ndarray
    key_position: np.ndarray
    end: int
    has_own_pts: bool
    num_joins: int
    num_flagged: int
    stopped: str | None

    def key_before(self, frame: int) -> int:
        """Row of the last keyframe at or before the frame in time; -1 if there is none."""
        return int(np.searchsorted(self.key_pts, self.pts[frame], side="right")) - 1

    def start_of(self, frame: int) -> int:
        """Packet at which decoding must begin for the frame to come out."""
        key = self.key_before(frame)
        return min(int(self.key_position[key]), int(self.position[frame])) if key >= 0 else 0

    def runs(self, frames: np.ndarray) -> list[Run]:
        """How to decode `frames` (ascending): few runs, each from a keyframe, merged where a seek is no gain."""
        if not self.has_own_pts:
            return [Run(0, len(self.packet_pts) - 1, frozenset())]
        runs: list[list[Any]] = []
        for frame in frames.tolist():
            start, packets = self.start_of(frame), range(int(self.position[frame]), int(self.last[frame]) + 1)
            if runs and start <= runs[-1][1] + _MIN_GAP:
                runs[-1][1] = max(runs[-1][1], packets[-1])
                runs[-1][2].extend(packets)
            else:
                runs.append([start, packets[-1], [*packets]])
        return [Run(start, stop, frozenset(wanted)) for start, stop, wanted in runs]

    def around(self, frame: int) -> Run:
        """Packets from the keyframe before a frame to the end of the group of pictures after it."""
        key = self.key_before(frame)
        start = int(self.key_position[key]) if key >= 0 else 0
        later = self.key_position[self.key_position > self.position[frame]]
        return Run(start, int(later[1]) - 1 if len(later) > 1 else len(self.packet_pts) - 1, frozenset())

    def locate(self, packet: Packet) -> int | None:
        """Position of a packet that was read after a seek; None if it is unknown or could be several."""
        if packet.pts is None and packet.dts is None:
            return None
        time = packet.pts if packet.pts is not None else packet.dts
        found = np.flatnonzero(self.file_pts == time)
        if len(found) > 1:
            offset = -1 if packet.pos is None else packet.pos
            found = found[(self.sizes[found] == packet.size) & (self.offsets[found] == offset)]
        return int(found[0]) if len(found) == 1 else None

    def without_keys(self, positions: set[int]) -> PacketIndex:
        """The index without keyframes at which decoding cannot begin."""
        keep = ~np.isin(self.key_position, list(positions))
        return replace(self, key_pts=self.key_pts[keep], key_position=self.key_position[keep])


@dataclass
class _Packets:
    """What one pass over the packets collects, one entry per packet."""

    pts: list[int | None] = field(default_factory=list)
    dts: list[int | None] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    is_key: list[bool] = field(default_factory=list)
    is_shown: list[bool] = field(default_factory=list)
    slices: list[Slice | None] = field(default_factory=list)
    is_packed: bool = False
    num_flagged: int = 0
    stopped: str | None = None

    def __len__(self) -> int:
        return len(self.pts)

    def add(self, packet: Packet, codec: str, fields: FieldReader | None) -> None:
        self.pts.append(packet.pts if packet.pts is not None else packet.dts)
        self.dts.append(packet.dts)
        self.durations.append(packet.duration or 0)
        self.sizes.append(packet.size)
        self.offsets.append(-1 if packet.pos is None else packet.pos)
        facts = fields.read(packet) if fields is not None else None
        # containers mark both fields as keyframes, though the second is predicted from the first
        self.is_key.append(packet.is_keyframe and (facts is None or facts.is_intra))
        self.is_shown.append(not (packet.is_discard or is_hidden(codec, packet)))
        if fields is not None:
            self.slices.append(facts)
        self.num_flagged += packet.is_corrupt


def index_packets(container: InputContainer, stream: VideoStream, label: str, limits: Limits) -> PacketIndex:
    """Read all packets of `stream` once.

    Raises:
        MediaDecodeError: there is no frame.
        MediaLimitError: above `Limits.max_frames` or `Limits.max_decode_seconds`.
    """
    found, codec, extradata = _Packets(), stream.codec_context.name, stream.codec_context.extradata
    fields = FieldReader.of(codec, extradata)
    deadline = Deadline(limits, label)
    try:
        for packet in container.demux(stream):
            if not packet.size:
                continue
            if len(found) % 4_096 == 0:
                deadline.check()
                limits.check("max_frames", len(found), f"{label} has too many pictures")
            if codec == "mpeg4" and not len(found):
                found.is_packed = bool(_PACKED.search(bytes(extradata or b"")) or _PACKED.search(bytes(packet)))
            found.add(packet, codec, fields)
    except (av.error.FFmpegError, EOFError) as error:
        found.stopped = getattr(error, "strerror", None) or type(error).__name__
    if not any(found.is_shown):
        raise MediaDecodeError(f"{label} has a video stream without a single picture; it is truncated or empty")
    limits.check("max_frames", len(found), f"{label} has too many pictures")
    return _make_index(found, container.format.name, stream)


def _make_index(found: _Packets, format_name: str, stream: VideoStream) -> PacketIndex:
    second = _second_fields(found.slices, len(found))
    position = np.flatnonzero(np.array(found.is_shown) & ~second)
    durations = np.array(found.durations, dtype=np.int64)
    file_pts = np.array([_NONE if time is None else time for time in found.pts], dtype=np.int64)
    missing = bool((file_pts[~second] == _NONE).any())
    num_joins = 0
    if missing:  # count in the stream's own average rate: no time is invented for a stream that has timestamps
        step = _ticks_per_frame(stream)
        packet_pts = (np.cumsum(~second) - 1) * step
        durations = np.full(len(found), step)
    else:
        packet_pts = np.where(second & (file_pts == _NONE), np.roll(file_pts, 1), file_pts)
        clock = RunningClock(format_name, stream.time_base)
        shifts = np.array([clock.shift(*timed) for timed in zip(found.dts, found.durations, strict=True)])
        packet_pts, num_joins = packet_pts + shifts, len(np.unique(shifts)) - 1
    position = position[np.argsort(packet_pts[position], kind="stable")]
    pts = packet_pts[position]
    followed = np.append(second[1:], False)[position]
    last = position + followed
    frame = np.full(len(found), -1, dtype=np.int64)
    frame[position] = frame[last] = np.arange(len(position))
    keys = np.flatnonzero(np.array(found.is_key) & ~second)
    keys = keys[np.argsort(packet_pts[keys], kind="stable")]
    gaps = np.diff(pts)
    end = max((packet_pts + durations)[last].max(), pts[-1] + (int(np.median(gaps)) if len(gaps) else 0))
    has_order = bool(len(gaps) == 0 or (gaps == 0).mean() < 0.5) and not found.is_packed
    return PacketIndex(
        file_pts=file_pts,
        sizes=np.array(found.sizes, dtype=np.int64),
        offsets=np.array(found.offsets, dtype=np.int64),
        packet_pts=packet_pts,
        pts=pts,
        position=position,
        last=last,
        frame=frame,
        key_pts=packet_pts[keys],
        key_position=keys,
        end=int(end),
        has_own_pts=has_order and not missing and not _reorders(format_name, stream),
        num_joins=num_joins,
        num_flagged=found.num_flagged,
        stopped=found.stopped,
    )


def _reorders(format_name: str, stream: VideoStream) -> bool:
    """AVI gives decode order as presentation order for codecs that reorder frames."""
    return format_name == "avi" and stream.codec_context.name in ("h264", "hevc")


def _second_fields(slices: list[Slice | None], count: int) -> np.ndarray:
    """(P,) bool: packets that hold the second field of the frame whose first field is in the packet before."""
    second = np.zeros(count, dtype=bool)
    for i, (first, then) in enumerate(pairwise(slices), start=1):
        if first is None or then is None or second[i - 1] or None in (first.parity, then.parity):
            continue
        second[i] = first.parity != then.parity and first.frame_num == then.frame_num
    return second


class RunningClock:
    """Keeps time going on where the clock of a joined file jumps, by the rule of FFmpeg's tools."""

    def __init__(self, format_name: str, base: Fraction | None) -> None:
        tick = float(base or 0)
        self._back = -_BACK_SECONDS / tick if format_name in _JOINS_BACK and tick else -math.inf
        self._ahead = _AHEAD_SECONDS / tick if format_name in _JOINS_AHEAD and tick else math.inf
        self._before: tuple[int, int] | None = None  # time and duration of the packet before
        self._shift = 0

    def shift(self, time: int | None, duration: int) -> int:
        """Ticks to add to the times of the next packet, whose decoding time and duration are given."""
        if time is None:
            return self._shift
        if self._before is not None:
            gap = time - self._before[0]
            if gap < self._back or gap > self._ahead:
                self._shift += self._before[1] - gap
        self._before = time, duration
        return self._shift


def _ticks_per_frame(stream: VideoStream) -> int:
    rate = stream.average_rate or stream.guessed_rate
    if not rate or not stream.time_base:
        raise MediaDecodeError(
            "the video stream has neither timestamps nor a frame rate; write it into another container"
        )
    return max(1, round(1 / (Fraction(rate) * stream.time_base)))
