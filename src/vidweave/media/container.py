"""Open audio and video containers with PyAV, always with allow-lists and typed errors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import av.error
from av.stream import Disposition

from vidweave.errors import MediaDecodeError, MediaError, MediaTypeError
from vidweave.media.guards import GuardedFile, sanitize
from vidweave.media.limits import Limits
from vidweave.media.sniff import HEAD_BYTES, refuse_foreign

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = [
    "ALLOWED_CODECS",
    "ALLOWED_FORMATS",
    "Deadline",
    "decoding",
    "open_container",
    "require_codec",
    "time_origin",
    "video_stream",
]

# Containers only: no playlists (hls, dash), no concat or image sequences, which name other files.
ALLOWED_FORMATS = (
    *(
        "mov",
        "mp4",
        "m4a",
        "3gp",
        "3g2",
        "mj2",
        "matroska",
        "webm",
        "avi",
        "mpegts",
        "mpeg",
        "flv",
        "asf",
        "ogg",
        "gif",
    ),
    *("ivf", "wav", "w64", "mp3", "flac", "aac", "aiff", "caf", "amr"),
)
ALLOWED_CODECS = frozenset(
    (
        *("h264", "hevc", "av1", "libdav1d", "libaom-av1", "vp8", "vp9", "libvpx", "libvpx-vp9", "mpeg1video"),
        *("mpeg2video", "mpeg4", "msmpeg4", "msmpeg4v1", "msmpeg4v2", "wmv1", "wmv2", "wmv3", "vc1", "h263", "flv"),
        *("theora", "mjpeg", "gif", "png", "ffv1", "huffyuv", "ffvhuff", "utvideo", "rawvideo", "prores", "dnxhd"),
        *("svq3", "cinepak", "dvvideo", "qtrle", "aac", "aac_latm", "mp1", "mp1float", "mp2", "mp2float", "mp3"),
        *("mp3float", "opus", "libopus", "vorbis", "libvorbis", "flac", "alac", "ac3", "eac3", "dca", "amrnb"),
        *("amrwb", "wmav1", "wmav2", "wmapro", "adpcm_ima_wav", "adpcm_ms", "adpcm_ima_qt", "gsm", "gsm_ms"),
    )
)
_BUFFER_BYTES = 65_536


@contextmanager
def decoding(label: str) -> Iterator[None]:
    """Convert FFmpeg's errors to MediaDecodeError, keeping only FFmpeg's reason."""
    try:
        yield
    except MediaError:
        raise
    except (av.error.FFmpegError, EOFError, MemoryError) as error:
        reason = sanitize(getattr(error, "strerror", None) or type(error).__name__)
        raise MediaDecodeError(
            f"{label} cannot be decoded ({reason}); it is truncated, corrupt, or not an audio or video file"
        ) from None


def open_container(file: GuardedFile) -> InputContainer:
    """Open a guarded file as audio or video.

    Raises:
        MediaTypeError: a known format that is not supported; the message says what to do.
        MediaDecodeError: truncated, corrupt, or unknown to FFmpeg.
    """
    options = {"format_whitelist": ",".join(ALLOWED_FORMATS), "protocol_whitelist": "file"}
    refuse_foreign(file.head(HEAD_BYTES), file.label)
    with decoding(file.label):
        return _open(file, options)


def _open(file: GuardedFile, options: dict[str, str]) -> InputContainer:
    try:
        return av.open(file, mode="r", container_options=options, buffer_size=_BUFFER_BYTES, metadata_errors="replace")
    except av.error.ArgumentError:  # FFmpeg knows the format, but it is not in the list
        raise MediaTypeError(
            f"{file.label} has an unsupported container format; convert it to MP4 or Matroska without re-encoding: "
            "ffmpeg -i FILE -c copy OUT.mkv"
        ) from None


def require_codec(stream: Any, label: str) -> None:
    """Raise MediaTypeError unless the stream has a decoder that is in the allow-list."""
    name = (
        stream.codec_context.name if stream.codec_context is not None else "unknown"
    )  # PyAV gives None for no decoder
    if name not in ALLOWED_CODECS and not name.startswith("pcm_"):
        raise MediaTypeError(f"{label} uses the codec {name!r}, which is not allowed; convert it to H.264 or AAC")


def video_stream(container: InputContainer, label: str) -> VideoStream:
    """Return the stream to read: FFmpeg's choice among those that are not cover art."""
    streams = [s for s in container.streams.video if not _is_cover(s)]
    if not streams:
        if container.streams.audio:
            raise MediaTypeError(f"{label} has audio but no video; give it as the audio of the clip (--audio)")
        raise MediaTypeError(f"{label} has no video stream")
    best = container.streams.best("video")
    return best if best in streams else streams[0]  # type: ignore[return-value]


def time_origin(container: InputContainer) -> Fraction:
    """Return the start in seconds of the earliest audio or video stream, which is time 0 of all returned times.

    Cover art is ignored: its time is 0 wherever the recording starts.
    """
    streams = [s for s in (*container.streams.video, *container.streams.audio) if not _is_cover(s)]
    starts = [s.start_time * s.time_base for s in streams if s.start_time is not None and s.time_base]
    return min(starts, default=Fraction(0))


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


class Deadline:
    """Limit on the wall time of one call."""

    def __init__(self, limits: Limits, label: str) -> None:
        self._limits, self._label, self._start = limits, label, time.monotonic()

    def check(self) -> None:
        """Raise MediaLimitError when the time is up."""
        self._limits.check(
            "max_decode_seconds", time.monotonic() - self._start, f"{self._label} takes too many seconds to read"
        )
