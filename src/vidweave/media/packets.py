"""Index a video stream with one demux pass over its packets, without decoding or trusting header numbers."""

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

_MIN_GAP = 6  # number of packets above which a seek (with flush and refill) is cheaper than decoding on
_JOINS_BACK = frozenset(("mpegts", "mpeg", "flv"))  # formats that may be concatenated with their clocks
_JOINS_AHEAD = frozenset(("mpegts", "mpeg"))
_BACK_SECONDS, _AHEAD_SECONDS = 0.1, 10.0  # FFmpeg's thresholds: larger clock jumps are not ordinary jitter
_PACKED = re.compile(rb"DivX\d+(?:Build|b)\d+p")  # MPEG-4: two frames in one packet, then an empty one
_NONE = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Run:
    """Packets `start`..`stop` (decode order, inclusive), decoded in one pass for the packets `requested`."""

    start: int
    stop: int
    requested: frozenset[int]


@dataclass(frozen=True, eq=False)
class PacketIndex:
    """Packets, frames and keyframes of one stream. A frame is identified by its packet, since timestamps may repeat.

    Attributes:
        file_pts: (P,) int64 ticks in decode order, as in the file.
        sizes, offsets: (P,) int64 bytes, to identify packets after a seek.
        packet_pts: (P,) int64 ticks on one clock that never jumps back.
        pts: (N,) int64 ticks of the displayed frames, ascending.
        position, last: (N,) int64, first and last packet of each frame (two for a pair of fields).
        frame: (P,) int64, frame of each packet; -1 if it is not displayed.
        key_pts, key_position: (K,) int64, ascending in time.
        end: Ticks at which the last frame ends.
        has_own_pts: False if timestamps do not give the order of the frames (none, or AVI's decode order): then the
            n-th frame from the decoder is frame n, which requires decoding from the start.
        num_joins: Number of clock jumps in the file, as in joined recordings.
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
        """Return the row of the last keyframe at or before the frame in time; -1 if there is none."""
        return int(np.searchsorted(self.key_pts, self.pts[frame], side="right")) - 1

    def start_of(self, frame: int) -> int:
        """Return the packet at which decoding must start to get the frame."""
        key = self.key_before(frame)
        return min(int(self.key_position[key]), int(self.position[frame])) if key >= 0 else 0

    def runs(self, frames: np.ndarray) -> list[Run]:
        """Plan decoding of `frames` (ascending): few runs, each from a keyframe, merged where a seek is not worth it."""
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
        return [Run(start, stop, frozenset(requested)) for start, stop, requested in runs]

    def around(self, frame: int) -> Run:
        """Return the packets from the keyframe before a frame to the end of its group of pictures."""
        key = self.key_before(frame)
        start = int(self.key_position[key]) if key >= 0 else 0
        later = self.key_position[self.key_position > self.position[frame]]
        return Run(start, int(later[1]) - 1 if len(later) > 1 else len(self.packet_pts) - 1, frozenset())

    def locate(self, packet: Packet) -> int | None:
        """Return the position of a packet read after a seek; None if it is unknown or ambiguous."""
        if packet.pts is None and packet.dts is None:
            return None
        time = packet.pts if packet.pts is not None else packet.dts
        matches = np.flatnonzero(self.file_pts == time)
        if len(matches) > 1:
            offset = -1 if packet.pos is None else packet.pos
            matches = matches[(self.sizes[matches] == packet.size) & (self.offsets[matches] == offset)]
        return int(matches[0]) if len(matches) == 1 else None

    def without_keys(self, positions: set[int]) -> PacketIndex:
        """Return the index without keyframes at which decoding cannot start."""
        keep = ~np.isin(self.key_position, list(positions))
        return replace(self, key_pts=self.key_pts[keep], key_position=self.key_position[keep])


@dataclass
class _Packets:
    """Data collected in one pass over the packets, one entry per packet."""

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
        MediaDecodeError: there are no frames.
        MediaLimitError: above `Limits.max_frames` or `Limits.max_decode_seconds`.
    """
    packets, codec, extradata = _Packets(), stream.codec_context.name, stream.codec_context.extradata
    fields = FieldReader.of(codec, extradata)
    deadline = Deadline(limits, label)
    try:
        for packet in container.demux(stream):
            if not packet.size:
                continue
            if len(packets) % 4_096 == 0:
                deadline.check()
                limits.check("max_frames", len(packets), f"{label} has too many frames")
            if codec == "mpeg4" and not len(packets):
                packets.is_packed = bool(_PACKED.search(bytes(extradata or b"")) or _PACKED.search(bytes(packet)))
            packets.add(packet, codec, fields)
    except (av.error.FFmpegError, EOFError) as error:
        packets.stopped = getattr(error, "strerror", None) or type(error).__name__
    if not any(packets.is_shown):
        raise MediaDecodeError(f"{label} has a video stream without any frames; it is truncated or empty")
    limits.check("max_frames", len(packets), f"{label} has too many frames")
    return _make_index(packets, container.format.name, stream)


def _make_index(packets: _Packets, format_name: str, stream: VideoStream) -> PacketIndex:
    second = _second_fields(packets.slices, len(packets))
    position = np.flatnonzero(np.array(packets.is_shown) & ~second)
    durations = np.array(packets.durations, dtype=np.int64)
    file_pts = np.array([_NONE if time is None else time for time in packets.pts], dtype=np.int64)
    missing = bool((file_pts[~second] == _NONE).any())
    num_joins = 0
    if missing:  # use the stream's own average rate; streams with timestamps keep them
        step = _ticks_per_frame(stream)
        packet_pts = (np.cumsum(~second) - 1) * step
        durations = np.full(len(packets), step)
    else:
        packet_pts = np.where(second & (file_pts == _NONE), np.roll(file_pts, 1), file_pts)
        clock = RunningClock(format_name, stream.time_base)
        shifts = np.array([clock.shift(*timed) for timed in zip(packets.dts, packets.durations, strict=True)])
        packet_pts, num_joins = packet_pts + shifts, len(np.unique(shifts)) - 1
    position = position[np.argsort(packet_pts[position], kind="stable")]
    pts = packet_pts[position]
    followed = np.append(second[1:], False)[position]
    last = position + followed
    frame = np.full(len(packets), -1, dtype=np.int64)
    frame[position] = frame[last] = np.arange(len(position))
    keys = np.flatnonzero(np.array(packets.is_key) & ~second)
    keys = keys[np.argsort(packet_pts[keys], kind="stable")]
    gaps = np.diff(pts)
    end = max((packet_pts + durations)[last].max(), pts[-1] + (int(np.median(gaps)) if len(gaps) else 0))
    has_order = bool(len(gaps) == 0 or (gaps == 0).mean() < 0.5) and not packets.is_packed
    return PacketIndex(
        file_pts=file_pts,
        sizes=np.array(packets.sizes, dtype=np.int64),
        offsets=np.array(packets.offsets, dtype=np.int64),
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
        num_flagged=packets.num_flagged,
        stopped=packets.stopped,
    )


def _reorders(format_name: str, stream: VideoStream) -> bool:
    """Return whether timestamps are in decode order: AVI files with codecs that reorder frames."""
    return format_name == "avi" and stream.codec_context.name in ("h264", "hevc")


def _second_fields(slices: list[Slice | None], count: int) -> np.ndarray:
    """(P,) bool: packets with the second field of a frame whose first field is in the previous packet."""
    second = np.zeros(count, dtype=bool)
    for i, (first, then) in enumerate(pairwise(slices), start=1):
        if first is None or then is None or second[i - 1] or None in (first.parity, then.parity):
            continue
        second[i] = first.parity != then.parity and first.frame_num == then.frame_num
    return second


class RunningClock:
    """Continue time where the clock of a joined file jumps, by the rule of FFmpeg's tools."""

    def __init__(self, format_name: str, base: Fraction | None) -> None:
        tick = float(base or 0)
        self._back = -_BACK_SECONDS / tick if format_name in _JOINS_BACK and tick else -math.inf
        self._ahead = _AHEAD_SECONDS / tick if format_name in _JOINS_AHEAD and tick else math.inf
        self._before: tuple[int, int] | None = None  # time and duration of the previous packet
        self._shift = 0

    def shift(self, time: int | None, duration: int) -> int:
        """Return ticks to add to the times of the next packet, given its decoding time and duration."""
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
            "the video stream has neither timestamps nor a frame rate; remux it to another container"
        )
    return max(1, round(1 / (Fraction(rate) * stream.time_base)))
