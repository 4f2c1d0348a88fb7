"""Reading pictures of a video by index: one demux pass for the index, then only the asked pictures are kept."""

# Axes: N pictures of the file in presentation order, M asked for, H height, W width

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Self

import av
import av.error
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from vidweave.errors import MediaDecodeError, MediaTypeError, ShapeError
from vidweave.media.container import Deadline, decoding, open_container, require_codec
from vidweave.media.guards import GuardedFile
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.media.packets import PacketIndex, Run, index_packets
from vidweave.types import Frames

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["VideoReader", "check_indices", "time_origin", "video_stream"]

# Decoders that drop pictures nobody refers to before decoding them; tested to leave all others bit-equal.
_DROPS_UNREFERENCED = frozenset(("h264", "hevc", "mpeg4", "mpeg2video"))
_LOSES_TIME_ON_SEEK = frozenset(("mpeg",))  # program streams: the packets after a seek carry other timestamps
_ONE_THREAD_PIXELS = 1280 * 720  # up to here, threads cost more than they bring


class VideoReader:
    """Random access to the pictures of a video file.

    Attributes:
        pts_seconds: (N,) float64, when each picture is shown; 0 is the start of the file (of its earliest stream).
        num_frames: N, counted from the packets.
        num_frames_from_header: What the header claims, or None.
        duration_seconds: When the last picture ends.

    Args:
        source: Path, or the bytes of a file.
        limits: Caps; see `Limits`.
        num_threads: Decoder threads; None uses one for small pictures, else as many as FFmpeg chooses.

    Raises:
        MediaTypeError: there is no video stream (a file with sound only belongs to the audio modality).
        MediaDecodeError: empty, truncated before the first picture, or not a video container that is allowed.
        MediaNotFoundError, MediaAccessError, MediaLimitError: see `guards.guard_path` and `Limits`.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | bytes,
        *,
        limits: Limits = DEFAULT_LIMITS,
        num_threads: int | None = None,
    ) -> None:
        self._limits, self._num_threads = limits, num_threads
        self._file = GuardedFile(source, limits=limits)
        try:
            self._open()
            self._index = index_packets(self._container, self._stream, self.label, limits)
            self._file.check_unchanged()
            self._place_in_time()
        except BaseException:
            self.close()
            raise
        self._rotation: int | None = None
        self._size: tuple[int, int] | None = None  # (width, height) as decoded
        self._corrupt: set[int] = set()
        self._damaged: set[int] = set()
        self._reformatter = VideoReformatter()

    @property
    def label(self) -> str:
        return self._file.label

    @property
    def source(self) -> str | os.PathLike[str] | bytes:
        """What was opened."""
        return self._file.source

    @property
    def index(self) -> PacketIndex:
        return self._index

    @property
    def stream(self) -> VideoStream:
        """PyAV's stream, for facts of the header."""
        return self._stream

    @property
    def num_frames(self) -> int:
        return len(self._index.pts)

    @property
    def num_corrupt_packets(self) -> int:
        """Packets that could not be decoded so far, or that the container marks as corrupt."""
        return max(len(self._corrupt), self._index.num_flagged)

    @property
    def rotation(self) -> int:
        """Degrees counter-clockwise by which decoded pictures are turned before they are returned: 0, 90, 180, 270."""
        self._probe()
        return self._rotation or 0

    @property
    def width(self) -> int:
        """Pixels, after rotation."""
        return self._shape()[1]

    @property
    def height(self) -> int:
        """Pixels, after rotation."""
        return self._shape()[0]

    @property
    def codec(self) -> str:
        return self._stream.codec_context.name

    @property
    def notes(self) -> list[str]:
        """What a user should know about this file: missing, corrupt and damaged pictures."""
        notes = []
        if self.num_frames_from_header and self.num_frames < self.num_frames_from_header:
            notes.append(
                f"{self.label}: the header says {self.num_frames_from_header} pictures, {self.num_frames} are there"
            )
        if self._index.stopped:
            notes.append(f"{self.label}: reading stopped early ({self._index.stopped})")
        if self.num_corrupt_packets:
            notes.append(f"{self.label}: {self.num_corrupt_packets} corrupt packets were passed over")
        if self._damaged:
            notes.append(f"{self.label}: {len(self._damaged)} pictures are damaged")
        return notes

    def read(self, indices: Sequence[int] | np.ndarray) -> Frames:
        """Decode pictures by index, in any order, repeats allowed; only these are held in memory.

        A picture that cannot be decoded is replaced by the nearest one that can; `Frames.num_lost` counts them, while
        `pts_seconds` and `indices` stay those that were asked for.

        Returns:
            Frames (M, H, W, 3) uint8 RGB, rotated as the file says.

        Raises:
            ShapeError: an index outside 0..N-1.
            MediaDecodeError: nothing can be decoded, more is lost than `Limits.max_lost_fraction` allows, or the file
                changed while it was read.
            MediaLimitError: above `Limits.max_pixels`, `max_decoded_bytes` or `max_decode_seconds`.
        """
        asked = check_indices(indices, self.num_frames, self.label)
        unique, inverse = np.unique(asked, return_inverse=True)
        context = self._stream.codec_context
        self._check_bytes(len(unique), context.width * context.height)
        values, is_found = self._decode(unique)
        num_lost = 0
        if not is_found.all():
            values, num_lost = self._stand_in(values, unique, np.flatnonzero(~is_found))
        self._file.check_unchanged()
        assert values is not None
        if len(asked) != len(unique) or (np.diff(inverse) < 0).any():
            self._check_bytes(len(asked), values[0].size // 3)
            values = values[inverse]
        return Frames(values, self.pts_seconds[asked], asked, num_lost=num_lost)

    def each(self, indices: Sequence[int] | np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Pictures by ascending index, one at a time and none kept: (index, (H, W, 3) uint8 RGB, rotated).

        One that cannot be decoded is left out. Raises as `read` does, but never for lost pictures.
        """
        asked = np.unique(check_indices(indices, self.num_frames, self.label))
        left = dict(zip(self._index.pts[asked].tolist(), asked.tolist(), strict=True))
        deadline = Deadline(self._limits, self.label)
        for run in self._index.runs(asked):
            wanted = set(run.wanted) or set(left)
            for pts, frame in self._pictures(run):
                deadline.check()
                wanted.discard(pts)
                if pts in left:
                    yield left.pop(pts), self._to_rgb(frame)
                if not wanted:
                    break
        self._file.check_unchanged()

    def close(self) -> None:
        """Close the file; safe to call twice."""
        if hasattr(self, "_container"):
            self._container.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- opening

    def _open(self) -> None:
        self._container: InputContainer = open_container(self._file)
        self._stream: VideoStream = video_stream(self._container, self.label)
        require_codec(self._stream, self.label)
        context = self._stream.codec_context
        self._limits.check(
            "max_pixels", context.width * context.height, f"{self.label} has too many pixels per picture"
        )
        context.options = {"max_pixels": str(self._limits.max_pixels)}
        threads = self._num_threads
        if threads is None:
            threads = 1 if context.width * context.height <= _ONE_THREAD_PIXELS else 0
        context.thread_count = threads
        if threads != 1:
            context.thread_type = "AUTO"
        self._can_drop = context.name in _DROPS_UNREFERENCED

    def _place_in_time(self) -> None:
        stream, index = self._stream, self._index
        self.num_frames_from_header = stream.frames or None
        base = stream.time_base or Fraction(1, 1)
        origin = min(time_origin(self._container), int(index.pts[0]) * base)
        self.pts_seconds = index.pts * float(base) - float(origin)
        self.duration_seconds = max(float(index.end * base - origin), float(self.pts_seconds[-1]))
        self._limits.check("max_seconds", self.duration_seconds, f"{self.label} lasts too many seconds")

    # ---- decoding

    def _decode(self, unique: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        """Pictures `unique` (ascending) as (M, H, W, 3), and which of them came out."""
        slots = {int(pts): i for i, pts in enumerate(self._index.pts[unique])}
        values, is_found = None, np.zeros(len(unique), dtype=bool)
        deadline = Deadline(self._limits, self.label)
        for run in self._index.runs(unique):
            left = len(run.wanted) or len(slots)
            for pts, frame in self._pictures(run):
                deadline.check()
                slot = slots.get(pts)
                if slot is None or is_found[slot]:
                    continue
                values = self._keep(values, slot, frame, len(unique))
                is_found[slot] = True
                if frame.is_corrupt:
                    self._damaged.add(pts)
                left -= 1
                if not left:
                    break
        return values, is_found

    def _stand_in(self, values: np.ndarray | None, unique: np.ndarray, missing: np.ndarray) -> tuple[np.ndarray, int]:
        """Fill the slots `missing` with the nearest pictures that can be decoded; returns how many are not the asked."""
        num_lost, deadline = 0, Deadline(self._limits, self.label)
        for slot in missing.tolist():
            deadline.check()
            distance, frame = self._nearest(int(unique[slot]))
            values = self._keep(values, slot, frame, len(unique))
            num_lost += distance > 0
        if num_lost > self._limits.max_lost_fraction * len(unique):
            # Below this share a few neighbours stand in; above it the answer would rest on other pictures than asked.
            raise MediaDecodeError(
                f"{self.label}: {num_lost} of {len(unique)} pictures cannot be decoded, at most"
                f" {self._limits.max_lost_fraction:.0%} may be lost; the file is corrupt: repair it, or raise"
                " Limits.max_lost_fraction"
            )
        assert values is not None
        return values, num_lost

    def _nearest(self, index: int) -> tuple[int, VideoFrame]:
        """The decodable picture nearest to `index` and its distance: looked for around it, then in the whole file."""
        target, last = int(self._index.pts[index]), len(self._index.packet_pts) - 1
        near = self._index.around(index) if self._index.has_own_pts else (0, last)
        for start, stop in (near, (0, last)):
            best: tuple[int, VideoFrame] | None = None
            for pts, frame in self._pictures(Run(start, stop, frozenset())):
                if best is not None and abs(pts - target) >= best[0] and pts > target:
                    break
                if best is None or abs(pts - target) < best[0]:
                    best = (abs(pts - target), frame)
            if best is not None:
                return best
        raise MediaDecodeError(
            f"{self.label}: none of its {self.num_frames} pictures can be decoded; the file is corrupt"
        )

    def _pictures(self, run: Run) -> Iterator[tuple[int, VideoFrame]]:
        """(ticks, picture) of everything that comes out of one run."""
        if self._index.has_own_pts:
            for frame in self._run(run):
                if frame.pts is not None:
                    yield frame.pts, frame
        else:
            yield from zip(self._index.pts.tolist(), self._run(run), strict=False)

    def _run(self, run: Run) -> Iterator[VideoFrame]:
        """Decode packets `start`..`stop`, then empty the decoder. Unreferenced pictures are dropped unless wanted."""
        drop = self._can_drop and bool(run.wanted)
        for position, packet in self._packets(run.start):
            # the stream is asked anew each time: going back to the start opens the file again
            is_needed = not drop or packet.pts in run.wanted
            self._stream.codec_context.skip_frame = "DEFAULT" if is_needed else "NONREF"
            try:
                yield from packet.decode()  # type: ignore[misc]
            except (av.error.FFmpegError, EOFError):
                self._corrupt.add(position)
            if position >= run.stop:
                break
        try:
            yield from self._stream.codec_context.decode(None)
        except (av.error.FFmpegError, EOFError):
            self._corrupt.add(run.stop)

    def _packets(self, start: int) -> Iterator[tuple[int, Packet]]:
        """(position, packet) from packet `start` on, in decode order."""
        position = self._seek(start)
        try:
            for packet in self._container.demux(self._stream):
                if not packet.size:
                    continue
                if position is None:
                    position = self._locate(packet, start)
                    if position is None:  # the container seeks badly: start over and pass over what comes before
                        self._reopen()
                        yield from self._packets_from_top(start)
                        return
                if position >= start:
                    yield position, packet
                position += 1
        except (av.error.FFmpegError, EOFError):
            return

    def _seek(self, start: int) -> int | None:
        """Go to packet `start`. Returns the position of the next packet, or None if only the packet itself can tell."""
        is_exact = self._index.has_own_pts and self._container.format.name not in _LOSES_TIME_ON_SEEK
        if start == 0 or not is_exact:
            self._reopen()
            return 0
        try:
            self._container.seek(int(self._index.packet_pts[start]), stream=self._stream, backward=True)
        except (av.error.FFmpegError, EOFError):
            self._reopen()
            return 0
        return None

    def _locate(self, packet: Packet, start: int) -> int | None:
        """Where a seek has landed; None if that is unknown or past `start`."""
        found = np.flatnonzero(self._index.packet_pts == packet.pts) if packet.pts is not None else ()
        return int(found[0]) if len(found) == 1 and found[0] <= start else None

    def _packets_from_top(self, start: int) -> Iterator[tuple[int, Packet]]:
        packets = (packet for packet in self._container.demux(self._stream) if packet.size)
        yield from ((i, packet) for i, packet in enumerate(packets) if i >= start)

    def _reopen(self) -> None:
        """Back to the first packet, with a fresh decoder; works where seeking does not."""
        self._container.close()
        self._open()

    # ---- pictures

    def _keep(self, values: np.ndarray | None, slot: int, frame: VideoFrame, count: int) -> np.ndarray:
        """Convert one picture and put it into its slot."""
        picture = self._to_rgb(frame)
        if values is None:
            self._check_bytes(count, picture.size // 3)
            values = np.zeros((count, *picture.shape), dtype=np.uint8)
        values[slot] = picture
        return values

    def _to_rgb(self, frame: VideoFrame) -> np.ndarray:
        """(H, W, 3) uint8, of the size of the first picture, turned as the file says."""
        self._learn(frame)
        assert self._size is not None
        width, height = self._size
        with decoding(self.label):
            rgb = self._reformatter.reformat(frame, width, height, format="rgb24", threads=1)
        plane = rgb.planes[0]
        rows = np.frombuffer(plane, dtype=np.uint8).reshape(height, plane.line_size)  # type: ignore[call-overload]
        picture = rows[:, : width * 3].reshape(height, width, 3)
        return np.rot90(picture, (self._rotation or 0) // 90)

    def _learn(self, frame: VideoFrame) -> None:
        """Size and rotation come from a decoded picture: headers may lie, and sizes may change on the way."""
        self._limits.check("max_pixels", frame.width * frame.height, f"{self.label} has too many pixels per picture")
        if self._size is None:
            self._size = (frame.width, frame.height)
            self._rotation = round(frame.rotation / 90) % 4 * 90

    def _probe(self) -> None:
        """Decode until the first picture comes out, if none has yet."""
        if self._size is None:
            self._learn(self._nearest(0)[1])

    def _shape(self) -> tuple[int, int]:
        self._probe()
        assert self._size is not None
        width, height = self._size
        return (width, height) if (self._rotation or 0) % 180 else (height, width)

    def _check_bytes(self, count: int, pixels: int) -> None:
        what = f"{self.label}: {count} pictures would take too many bytes"
        self._limits.check("max_decoded_bytes", count * pixels * 3, what)


def check_indices(indices: Sequence[int] | np.ndarray, count: int, label: str) -> np.ndarray:
    """Indices (M,) as int64; raises ShapeError unless there is at least one and all are in 0..count-1."""
    asked = np.asarray(indices)
    if asked.ndim != 1 or asked.size == 0 or not np.issubdtype(asked.dtype, np.integer):
        raise ShapeError(
            f"frame indices must be a non-empty list of integers, got shape {asked.shape} of {asked.dtype}"
        )
    if asked.min() < 0 or asked.max() >= count:
        bad = int(asked.min() if asked.min() < 0 else asked.max())
        raise ShapeError(f"{label} has pictures 0..{count - 1}, index {bad} was asked for")
    return asked.astype(np.int64)


def video_stream(container: InputContainer, label: str) -> VideoStream:
    """The stream to look at: FFmpeg's choice among those that are no cover art."""
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        if container.streams.audio:
            raise MediaTypeError(f"{label} holds sound but no video; give it as the audio of the clip (--audio)")
        raise MediaTypeError(f"{label} holds no video stream")
    best = container.streams.best("video")
    return best if best in streams else streams[0]  # type: ignore[return-value]


def time_origin(container: InputContainer) -> Fraction:
    """Seconds at which the earliest audio or video stream starts: time 0 of everything this package returns."""
    streams = (*container.streams.video, *container.streams.audio)
    starts = [s.start_time * s.time_base for s in streams if s.start_time is not None and s.time_base]
    return min(starts, default=Fraction(0))
