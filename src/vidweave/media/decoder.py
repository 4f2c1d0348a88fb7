"""Decode runs of packets; frames are identified by the packet they were decoded from, not by their time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import av
import av.error

from vidweave.media.container import open_container, require_codec, video_stream
from vidweave.media.guards import GuardedFile
from vidweave.media.limits import Limits
from vidweave.media.packets import PacketIndex, Run

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["PacketDecoder"]

# Decoders that drop unreferenced frames before decoding; tested to leave all others bit-equal.
_DROPS_UNREFERENCED = frozenset(("h264", "hevc", "mpeg4", "mpeg2video"))
_LOSES_TIME_ON_SEEK = frozenset(("mpeg",))  # program streams: packets have other timestamps after a seek
_ONE_THREAD_PIXELS = 1280 * 720  # up to this size, threads cost more than they gain
_RESTART_PACKETS = 64  # more than any decoder delays a keyframe
_LOCATE_PACKETS = 16  # some containers start in the middle of a packet after a seek: skip a few
_PREDICTED = (2, 3)  # FFmpeg's numbers of the frame types P and B


class PacketDecoder:
    """One open video stream of a file, decoded from any packet on.

    Args:
        file: The open file; the caller closes it.
        limits: `max_pixels` is checked.
        num_threads: None uses one for small frames, else FFmpeg's choice.
        options: FFmpeg's options for the decoder.

    Raises:
        MediaTypeError: no video stream, or a codec that is not allowed.
        MediaDecodeError: not an allowed container, or corrupt.
        MediaLimitError: above `Limits.max_pixels`.
    """

    def __init__(
        self,
        file: GuardedFile,
        limits: Limits,
        *,
        num_threads: int | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self._file, self._limits, self._num_threads, self._options = file, limits, num_threads, dict(options or {})
        self.corrupt: set[int] = set()  # positions of packets that could not be decoded
        self._restarts: dict[int, bool] = {}  # keyframe's position → whether decoding can start there
        self._open()

    def frames(self, index: PacketIndex, run: Run, *, skips: bool = False) -> Iterator[tuple[int, VideoFrame]]:
        """Yield (frame number, frame) for every displayed frame of a run, in presentation order.

        Args:
            skips: Skip frames that no other refers to. By default only those outside `run.wanted` are skipped.
        """
        if not index.has_own_pts:
            yield from zip(range(len(index.pts)), self._decode(index, run, skips), strict=False)
            return
        for frame in self._decode(index, run, skips):
            number = -1 if frame.pts is None or not 0 <= frame.pts < len(index.frame) else int(index.frame[frame.pts])
            if number < 0:
                continue
            if number == index.frame[run.start]:
                self._restarts.setdefault(run.start, not frame.is_corrupt and not is_predicted(frame))
            yield number, frame

    def packets(self, index: PacketIndex, start: int) -> Iterator[tuple[int, Packet]]:
        """Yield (position, packet) from packet `start` on, in decode order."""
        position, tries = self._seek(index, start), 0
        try:
            for packet in self.container.demux(self.stream):
                if not packet.size:
                    continue
                if position is None:
                    position, tries = index.locate(packet), tries + 1
                    if position is None and tries < _LOCATE_PACKETS:
                        continue
                    if position is None or position > start:  # seeking is imprecise in this container: start over
                        self._open_again()
                        yield from self._packets_from_top(start)
                        return
                if position >= start:
                    yield position, packet
                position += 1
        except (av.error.FFmpegError, EOFError):
            return

    def is_restart(self, index: PacketIndex, position: int) -> bool:
        """Return whether decoding can start at a keyframe's packet: it decodes completely, without other frames.

        A container's key flag is not sufficient: with intra refresh, and in some joined or repaired files, the frame needs
        earlier ones.
        """
        if position == 0:
            return True
        number = int(index.frame[position])
        if position not in self._restarts and number >= 0:  # cannot be determined for hidden frames
            stop = min(position + _RESTART_PACKETS, len(index.packet_pts) - 1)
            any(shown >= number for shown, _ in self.frames(index, Run(position, stop, frozenset())))
            self._restarts.setdefault(position, False)
        return self._restarts.get(position, True)

    def close(self) -> None:
        """Close the container; safe to call twice."""
        if hasattr(self, "container"):
            self.container.close()

    # ---- one run

    def _decode(self, index: PacketIndex, run: Run, skips: bool) -> Iterator[VideoFrame]:
        """Decode packets `start`..`stop`, then flush the decoder; `frame.pts` is the packet's position."""
        drop = self._can_drop and bool(run.requested)
        for position, packet in self.packets(index, run.start):
            # look up the stream each time: going back to the start reopens the file
            is_dropped = skips or (drop and position not in run.requested)
            self.stream.codec_context.skip_frame = "NONREF" if is_dropped else "DEFAULT"
            packet.pts = packet.dts = position
            try:
                yield from packet.decode()  # type: ignore[misc]
            except (av.error.FFmpegError, EOFError):
                self.corrupt.add(position)
            if position >= run.stop:
                break
        try:
            yield from self.stream.codec_context.decode(None)
        except (av.error.FFmpegError, EOFError):
            self.corrupt.add(run.stop)

    def _seek(self, index: PacketIndex, start: int) -> int | None:
        """Seek to packet `start`; return the position of the next packet, or None if only the packet itself can tell."""
        is_exact = index.has_own_pts and self.container.format.name not in _LOSES_TIME_ON_SEEK
        if start == 0 or not is_exact:
            self._open_again()
            return 0
        try:
            self.container.seek(int(index.file_pts[start]), stream=self.stream, backward=True)
        except (av.error.FFmpegError, EOFError):
            self._open_again()
            return 0
        return None

    def _packets_from_top(self, start: int) -> Iterator[tuple[int, Packet]]:
        packets = (packet for packet in self.container.demux(self.stream) if packet.size)
        yield from ((i, packet) for i, packet in enumerate(packets) if i >= start)

    # ---- opening

    def _open(self) -> None:
        self.container: InputContainer = open_container(self._file)
        self.stream: VideoStream = video_stream(self.container, self._file.label)
        require_codec(self.stream, self._file.label)
        context = self.stream.codec_context
        pixels = context.width * context.height
        self._limits.check("max_pixels", pixels, f"{self._file.label} has too many pixels per frame")
        context.options = {"max_pixels": str(self._limits.max_pixels), **self._options}
        threads = self._num_threads
        if threads is None:
            threads = 1 if pixels <= _ONE_THREAD_PIXELS else 0
        context.thread_count = threads
        if threads != 1:
            context.thread_type = "AUTO"
        self._can_drop = context.name in _DROPS_UNREFERENCED

    def _open_again(self) -> None:
        """Go back to the first packet, with a new decoder; works where seeking does not."""
        self.container.close()
        self._open()


def is_predicted(frame: VideoFrame) -> bool:
    """Return whether the frame was predicted from others; False for decoders that do not report a type."""
    return not frame.key_frame and int(frame.pict_type) in _PREDICTED
