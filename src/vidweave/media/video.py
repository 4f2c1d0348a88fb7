"""Read frames of a video by index: one demux pass for the index, then only the requested frames are kept."""

# Axes: N frames of the file in presentation order, M requested, H height, W width

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Self

import numpy as np
from av.video.reformatter import VideoReformatter

from vidweave.errors import MediaDecodeError, ShapeError
from vidweave.media.container import Deadline, decoding, time_origin
from vidweave.media.decoder import PacketDecoder, is_predicted
from vidweave.media.guards import GuardedFile
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.media.orientation import Orientation, orientation_of
from vidweave.media.packets import PacketIndex, Run, index_packets
from vidweave.media.pixels import conversion_notes
from vidweave.types import Frames

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["VideoReader", "check_indices"]


class VideoReader:
    """Random access to the frames of a video file.

    Attributes:
        pts_seconds: (N,) float64, display time of each frame; 0 is the start of the file (of its earliest stream).
        num_frames: N, counted from the packets.
        num_frames_from_header: Number in the header, or None.
        duration_seconds: End of the last frame.

    Args:
        source: Path, or the bytes of a file.
        limits: See `Limits`.
        num_threads: Decoder threads; None uses one for small frames, else FFmpeg's choice.

    Raises:
        MediaTypeError: there is no video stream (audio files belong to the audio modality).
        MediaDecodeError: empty, truncated before the first frame, or not an allowed video container.
        MediaNotFoundError, MediaAccessError, MediaLimitError: see `guards.guard_path` and `Limits`.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | bytes,
        *,
        limits: Limits = DEFAULT_LIMITS,
        num_threads: int | None = None,
    ) -> None:
        self._limits = limits
        self._file = GuardedFile(source, limits=limits)
        try:
            self._decoder = PacketDecoder(self._file, limits, num_threads=num_threads)
            self._index = index_packets(self._decoder.container, self.stream, self.label, limits)
            self._file.check_unchanged()
            self._place_in_time()
        except BaseException:
            self.close()
            raise
        self._orientation = Orientation()
        self._size: tuple[int, int] | None = None  # (width, height) as decoded
        self._damaged: set[int] = set()
        self._reformatter = VideoReformatter()

    @property
    def label(self) -> str:
        return self._file.label

    @property
    def source(self) -> str | os.PathLike[str] | bytes:
        """The opened source."""
        return self._file.source

    @property
    def index(self) -> PacketIndex:
        return self._index

    @property
    def keyframes(self) -> np.ndarray:
        """Indices (K,) of frames at which decoding can start, ascending, as the container marks them; empty if unknown."""
        if not self._index.has_own_pts:
            return np.zeros(0, dtype=np.int64)
        place = np.searchsorted(self._index.pts, self._index.key_pts).clip(0, self.num_frames - 1)
        return np.unique(place[self._index.pts[place] == self._index.key_pts])

    @property
    def stream(self) -> VideoStream:
        """PyAV's stream, for header facts."""
        return self._decoder.stream

    @property
    def decoder(self) -> PacketDecoder:
        """The packet decoder, for low-level use."""
        return self._decoder

    @property
    def num_frames(self) -> int:
        return len(self._index.pts)

    @property
    def num_corrupt_packets(self) -> int:
        """Packets that could not be decoded so far, or are marked as corrupt by the container."""
        return max(len(self._decoder.corrupt), self._index.num_flagged)

    @property
    def rotation(self) -> int:
        """Degrees counter-clockwise by which decoded frames are rotated: 0, 90, 180, 270."""
        return self.orientation.quarters * 90

    @property
    def is_mirrored(self) -> bool:
        """Whether decoded frames are mirrored left to right, before rotation."""
        return self.orientation.is_mirrored

    @property
    def orientation(self) -> Orientation:
        """Rotation and mirroring applied to decoded frames."""
        self._probe()
        return self._orientation

    @property
    def width(self) -> int:
        """Width in pixels, after rotation."""
        return self._shape()[1]

    @property
    def height(self) -> int:
        """Height in pixels, after rotation."""
        return self._shape()[0]

    @property
    def codec(self) -> str:
        return self.stream.codec_context.name

    @property
    def notes(self) -> list[str]:
        """Notes for the user: missing, corrupt and damaged frames, and conversions."""
        notes = []
        if self.num_frames_from_header and self.num_frames < self.num_frames_from_header:
            notes.append(
                f"{self.label}: the header says {self.num_frames_from_header} frames, but there are {self.num_frames}"
            )
        if self._index.stopped:
            notes.append(f"{self.label}: reading stopped early ({self._index.stopped})")
        if self._index.num_joins:
            places = "1 place" if self._index.num_joins == 1 else f"{self._index.num_joins} places"
            notes.append(
                f"{self.label}: its clock jumps at {places}, as in joined recordings; time continues from there"
            )
        if self.num_corrupt_packets:
            notes.append(f"{self.label}: {self.num_corrupt_packets} corrupt packets were skipped")
        notes += conversion_notes(self.stream, self.label)
        if self._damaged:
            notes.append(f"{self.label}: {len(self._damaged)} frames are damaged")
        return notes

    def read(self, indices: Sequence[int] | np.ndarray) -> Frames:
        """Decode frames by index, in any order, with repeats; only these are held in memory.

        A frame that cannot be decoded is replaced by the nearest one that can; `Frames.num_lost` counts them, while
        `pts_seconds` and `indices` stay as requested.

        Returns:
            Frames (M, H, W, 3) uint8 RGB, rotated as specified in the file.

        Raises:
            ShapeError: an index outside 0..N-1.
            MediaDecodeError: nothing can be decoded, more is lost than `Limits.max_lost_fraction` allows, or the file
                changed while it was read.
            MediaLimitError: above `Limits.max_pixels`, `max_decoded_bytes` or `max_decode_seconds`.
        """
        asked = check_indices(indices, self.num_frames, self.label)
        unique, inverse = np.unique(asked, return_inverse=True)
        context = self.stream.codec_context
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
        """Yield frames by ascending index, one at a time: (index, (H, W, 3) uint8 RGB, oriented).

        Frames that cannot be decoded are skipped. Raises like `read`, but never for lost frames.
        """
        requested = np.unique(check_indices(indices, self.num_frames, self.label))
        self._drop_false_keys(requested)  # frames are yielded immediately: there is no second try
        left = set(requested.tolist())
        deadline = Deadline(self._limits, self.label)
        for run in self._index.runs(requested):
            remaining = set(self._index.frame[list(run.requested)].tolist()) or set(left)
            for number, frame in self._decoder.frames(self._index, run):
                deadline.check()
                remaining.discard(number)
                if number in left:
                    left.remove(number)
                    yield number, self._to_rgb(frame)
                if not remaining:
                    break
        self._file.check_unchanged()

    def restart_before(self, number: int) -> int:
        """Return the packet of the last keyframe at or before a frame at which decoding can start; 0 if there is none."""
        self._drop_false_keys(np.array([number]))
        return self._index.start_of(number)

    def close(self) -> None:
        """Close the file; safe to call twice."""
        if hasattr(self, "_decoder"):
            self._decoder.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _place_in_time(self) -> None:
        stream, index = self.stream, self._index
        self.num_frames_from_header = stream.frames or None
        base = stream.time_base or Fraction(1, 1)
        origin = min(time_origin(self._decoder.container), int(index.pts[0]) * base)
        self.pts_seconds = index.pts * float(base) - float(origin)
        self.duration_seconds = max(float(index.end * base - origin), float(self.pts_seconds[-1]))
        self._limits.check("max_seconds", self.duration_seconds, f"{self.label} lasts too many seconds")

    # ---- decoding

    def _decode(self, unique: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        """Decode frames `unique` (ascending) to (M, H, W, 3), and report which were decoded."""
        collected = _Collected(unique)
        self._gather(collected, self._index.runs(unique))
        doubtful = np.flatnonzero(~collected.is_there | collected.is_damaged)
        # Before a frame is declared lost: did decoding start at an independent keyframe?
        if len(doubtful) and self._drop_false_keys(unique[doubtful]):
            self._gather(collected, self._index.runs(unique[doubtful]))
        self._damaged |= set(unique[collected.is_damaged].tolist())
        return collected.values, collected.is_there

    def _gather(self, collected: _Collected, runs: list[Run]) -> None:
        """Decode `runs` and keep frames that are missing or damaged so far."""
        deadline = Deadline(self._limits, self.label)
        for run in runs:
            remaining = {int(self._index.frame[packet]) for packet in run.requested} or set(collected.slots)
            first = int(self._index.frame[run.start]) if run.start and self._index.has_own_pts else -1
            for number, frame in self._decoder.frames(self._index, run):
                deadline.check()
                if number == first and is_predicted(frame):
                    break  # no keyframe at all: later frames would be decoded from nothing
                if number not in remaining:
                    continue
                remaining.remove(number)
                slot = collected.slots[number]
                if not collected.is_there[slot] or collected.is_damaged[slot]:
                    collected.values = self._keep(collected.values, slot, frame, len(collected.slots))
                    collected.is_there[slot], collected.is_damaged[slot] = True, frame.is_corrupt
                if not remaining:
                    break

    def _drop_false_keys(self, frames: np.ndarray) -> bool:
        """Remove keyframes at which decoding cannot start from the index, as far as `frames` depend on them.

        Earlier keyframes are tried in growing steps, finally the start of the file. Returns whether any was removed.
        """
        index = self._index
        if not index.has_own_pts:
            return False
        false: set[int] = set()
        for key in {index.key_before(int(frame)) for frame in frames}:
            step = 1
            while key >= 0 and not self._decoder.is_restart(index, int(index.key_position[key])):
                # those in between are not trusted either
                false.update(index.key_position[max(0, key - step + 1) : key + 1].tolist())
                key, step = key - step, 2 * step
        self._index = index.without_keys(false - {0}) if false else index
        return bool(false)

    def _stand_in(self, values: np.ndarray | None, unique: np.ndarray, missing: np.ndarray) -> tuple[np.ndarray, int]:
        """Fill the slots `missing` with the nearest decodable frames; return how many differ from the requested."""
        num_lost, deadline = 0, Deadline(self._limits, self.label)
        for slot in missing.tolist():
            deadline.check()
            distance, frame = self._nearest(int(unique[slot]))
            values = self._keep(values, slot, frame, len(unique))
            num_lost += distance > 0
        if num_lost > self._limits.max_lost_fraction * len(unique):
            # Below this share a few neighbors are acceptable; above it the answer would rest on other frames than requested.
            raise MediaDecodeError(
                f"{self.label}: {num_lost} of {len(unique)} frames cannot be decoded, at most"
                f" {self._limits.max_lost_fraction:.0%} may be lost; the file is corrupt: repair it, or raise"
                " Limits.max_lost_fraction"
            )
        assert values is not None
        return values, num_lost

    def _nearest(self, number: int) -> tuple[int, VideoFrame]:
        """Find the decodable frame nearest to `number` and its distance: around it, then in the whole file."""
        times = self._index.pts
        whole = Run(0, len(self._index.packet_pts) - 1, frozenset())
        for run in (self._index.around(number) if self._index.has_own_pts else whole, whole):
            best: tuple[int, VideoFrame] | None = None
            for other, frame in self._decoder.frames(self._index, run):
                distance = abs(int(times[other]) - int(times[number]))
                if best is not None and distance >= best[0] and other > number:
                    break
                if best is None or distance < best[0]:
                    best = (distance, frame)
            if best is not None:
                return best
        raise MediaDecodeError(
            f"{self.label}: none of its {self.num_frames} frames can be decoded; the file is corrupt"
        )

    # ---- frames

    def _keep(self, values: np.ndarray | None, slot: int, frame: VideoFrame, count: int) -> np.ndarray:
        """Convert one frame and write it into its slot."""
        rgb = self._to_rgb(frame)
        if values is None:
            self._check_bytes(count, rgb.size // 3)
            values = np.zeros((count, *rgb.shape), dtype=np.uint8)
        values[slot] = rgb
        return values

    def _to_rgb(self, frame: VideoFrame) -> np.ndarray:
        """Convert to (H, W, 3) uint8 in the size of the first frame, oriented as specified in the file."""
        self._set_size(frame)
        assert self._size is not None
        width, height = self._size
        with decoding(self.label):
            rgb = self._reformatter.reformat(frame, width, height, format="rgb24", threads=1)
        plane = rgb.planes[0]
        rows = np.frombuffer(plane, dtype=np.uint8).reshape(height, plane.line_size)  # type: ignore[call-overload]
        return self._orientation.apply(rows[:, : width * 3].reshape(height, width, 3))

    def _set_size(self, frame: VideoFrame) -> None:
        """Take size and orientation from a decoded frame: headers may be wrong, and sizes may change."""
        self._limits.check("max_pixels", frame.width * frame.height, f"{self.label} has too many pixels per frame")
        if self._size is None:
            self._size = (frame.width, frame.height)
            self._orientation = orientation_of(frame)

    def _probe(self) -> None:
        """Decode until the first frame comes out, if none has yet."""
        if self._size is None:
            self._set_size(self._nearest(0)[1])

    def _shape(self) -> tuple[int, int]:
        self._probe()
        assert self._size is not None
        width, height = self._size
        return (width, height) if self._orientation.swaps_sides else (height, width)

    def _check_bytes(self, count: int, pixels: int) -> None:
        what = f"{self.label}: {count} frames would take too many bytes"
        self._limits.check("max_decoded_bytes", count * pixels * 3, what)


def check_indices(indices: Sequence[int] | np.ndarray, count: int, label: str) -> np.ndarray:
    """Return indices (M,) as int64; raise ShapeError unless there is at least one and all are in 0..count-1."""
    asked = np.asarray(indices)
    if asked.ndim != 1 or asked.size == 0 or not np.issubdtype(asked.dtype, np.integer):
        raise ShapeError(
            f"frame indices must be a non-empty list of integers, got shape {asked.shape} of {asked.dtype}"
        )
    if asked.min() < 0 or asked.max() >= count:
        bad = int(asked.min() if asked.min() < 0 else asked.max())
        raise ShapeError(f"{label} has frames 0..{count - 1}, but index {bad} was requested")
    return asked.astype(np.int64)


class _Collected:
    """Frames collected during decoding: one slot for each of the `unique` numbers."""

    def __init__(self, unique: np.ndarray) -> None:
        self.slots = {number: slot for slot, number in enumerate(unique.tolist())}
        self.values: np.ndarray | None = None  # (M, H, W, 3)
        self.is_there = np.zeros(len(unique), dtype=bool)
        self.is_damaged = np.zeros(len(unique), dtype=bool)
