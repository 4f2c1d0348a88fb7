"""Write carriers to files, atomically."""

# Axes: T frames, H height, W width, K channels

from __future__ import annotations

import json
import os
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import av.error
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from PIL import Image

from vidweave.errors import MediaAccessError, MediaError, ShapeError
from vidweave.media.guards import describe, sanitize
from vidweave.storage import atomic_path
from vidweave.types import Frames, PointCloud, Waveform

__all__ = ["write_array", "write_audio", "write_image", "write_points", "write_video"]

_CLOCK = Fraction(1, 60_000)  # for times that are not multiples of a rate; the finest that MPEG-4 allows
_LOSSLESS = {"h264": ("libx264rgb", "rgb24", {"qp": "0"}), "ffv1": ("ffv1", "bgr0", {})}
_LOSSY = {
    "h264": ("libx264", "yuv420p", {"crf": "20"}),
    "hevc": ("libx265", "yuv420p", {"crf": "22", "x265-params": "log-level=none"}),
    "vp9": ("libvpx-vp9", "yuv420p", {"crf": "30", "b": "0"}),
    "av1": ("libsvtav1", "yuv420p", {"crf": "30"}),
    "mpeg4": ("mpeg4", "yuv420p", {}),
    "gif": ("gif", "rgb8", {}),
}
_AUDIO_CODECS = {".webm": "libopus", ".mkv": "aac", ".mp4": "aac", ".mov": "aac", ".avi": "pcm_s16le"}


def write_video(
    path: str | os.PathLike[str],
    frames: Frames,
    *,
    fps: float | None = None,
    audio: Waveform | None = None,
    codec: str = "h264",
    lossless: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """Write frames and optionally audio to a video file; the container follows from the suffix of `path`.

    Args:
        frames: uint8 (T, H, W, 3) or (T, H, W, 1). Sizes may be odd only if `lossless`.
        fps: A constant rate; None keeps the times of `frames` (ascending, shifted to start at 0).
        codec: h264, hevc, vp9, av1, mpeg4, gif; with `lossless` h264 or ffv1 (RGB in, the same RGB out).
        options: Encoder options that replace ours, e.g. ``{"crf": "30", "g": "12"}``.

    Raises:
        ShapeError: frames that are not uint8 RGB or gray, or times that do not ascend.
        MediaError: an unknown codec, or one that the container or the size does not support.
        MediaAccessError: the folder cannot be written to.
    """
    values = _rgb(frames)
    ticks, clock = _ticks(frames, fps)
    known = _LOSSLESS if lossless else _LOSSY
    if codec not in known:
        raise MediaError(f"unknown {'lossless ' if lossless else ''}codec {codec!r}; known: {', '.join(known)}")
    name, pixel_format, preset = known[codec]
    if pixel_format == "yuv420p" and (values.shape[1] % 2 or values.shape[2] % 2):
        height, width = values.shape[1:3]
        raise MediaError(f"{codec} needs even sizes, got {width}x{height}; crop the frames or write them lossless")
    with _whole(path) as part, _encoding(path), av.open(str(part), "w") as container:
        stream = container.add_stream(name, rate=_rate(ticks, clock), options={**preset, **(options or {})})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = values.shape[1:3]
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = stream.time_base = clock
        audio_stream = _add_audio(container, audio, Path(path).suffix) if audio is not None else None
        _encode_frames(container, stream, values, ticks, clock)
        if audio_stream is not None and audio is not None:
            _encode_audio(container, audio_stream, audio)
    return Path(path)


def write_audio(path: str | os.PathLike[str], waveform: Waveform) -> Path:
    """Write a waveform as 16-bit PCM WAV; samples outside -1..1 are clipped."""
    samples = np.clip(np.nan_to_num(waveform.samples) * 32_768.0, -32_768, 32_767).round().astype("<i2")
    with _whole(path) as part, open(part, "wb") as file, wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(waveform.sample_rate)
        wav.writeframes(samples.tobytes())
    return Path(path)


def write_image(path: str | os.PathLike[str], values: np.ndarray | Frames) -> Path:
    """Write one image, uint8 (H, W, 3), (H, W, 1) or (H, W), in the format of the suffix of `path`."""
    if isinstance(values, Frames) and len(values) != 1:
        raise ShapeError(f"an image must be one frame, got {len(values)}")
    array = values.values[0] if isinstance(values, Frames) else values
    image = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise ShapeError(f"an image must be uint8 (H, W, 3), (H, W, 1) or (H, W), got {array.dtype} {array.shape}")
    with _whole(path) as part:
        try:
            Image.fromarray(image).save(part)
        except (ValueError, KeyError):
            raise MediaError(f"{describe(path)} has no suffix of an image format; use .png or .jpg") from None
    return Path(path)


def write_array(path: str | os.PathLike[str], frames: Frames) -> Path:
    """Write frames of any kind (depth, flow, …) losslessly: `NAME.npy`, and their times as `NAME.npy.json`."""
    if Path(path).suffix != ".npy":
        raise MediaError(f"{describe(path)} must end with .npy")
    with _whole(path) as part, open(part, "wb") as file:
        np.save(file, np.ascontiguousarray(frames.values), allow_pickle=False)
    with _whole(f"{os.fspath(path)}.json") as part:
        part.write_text(json.dumps({"pts_seconds": frames.pts_seconds.tolist()}))
    return Path(path)


def write_points(path: str | os.PathLike[str], cloud: PointCloud) -> Path:
    """Write a point cloud as a float32 array (P, 3 + C): `NAME.npy`."""
    if Path(path).suffix != ".npy":
        raise MediaError(f"{describe(path)} must end with .npy")
    columns = [cloud.coordinates] if cloud.features is None else [cloud.coordinates, cloud.features]
    with _whole(path) as part, open(part, "wb") as file:
        np.save(file, np.concatenate(columns, axis=1).astype(np.float32), allow_pickle=False)
    return Path(path)


# ---- frames and audio → packets


def _rgb(frames: Frames) -> np.ndarray:
    values = frames.values
    if not len(values) or values.dtype != np.uint8 or values.shape[3] not in (1, 3):
        raise ShapeError(
            f"a video is written from uint8 (T, H, W, 3) or (T, H, W, 1) with T at least 1, got {values.dtype}"
            f" {tuple(values.shape)}; write other frames with write_array"
        )
    return values


def _ticks(frames: Frames, fps: float | None) -> tuple[list[int], Fraction]:
    """Return presentation times, and the clock in which they are counted."""
    if fps is not None:
        if not fps > 0:
            raise ShapeError(f"fps must be positive, got {fps}")
        return list(range(len(frames))), 1 / Fraction(fps).limit_denominator(1_001)
    ticks = [round(float(t - frames.pts_seconds[0]) / float(_CLOCK)) for t in frames.pts_seconds]
    if any(later <= earlier for earlier, later in pairwise(ticks)):
        raise ShapeError("the times of the frames do not ascend; give fps")
    return ticks, _CLOCK


def _rate(ticks: list[int], clock: Fraction) -> Fraction:
    """Average rate for headers and the duration of the last frame."""
    steps = Fraction(max(1, len(ticks) - 1), max(1, ticks[-1]))
    return (steps / clock).limit_denominator(10_000)


def _encode_frames(
    container: OutputContainer, stream: VideoStream, values: np.ndarray, ticks: list[int], clock: Fraction
) -> None:
    duration = max(1, round(1 / (_rate(ticks, clock) * clock)))
    for value, pts in zip(values, ticks, strict=True):
        rgb = np.repeat(value, 3, axis=2) if value.shape[2] == 1 else value
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        frame.pts, frame.time_base, frame.duration = pts, clock, duration
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _add_audio(container: OutputContainer, audio: Waveform, suffix: str) -> av.AudioStream:
    codec = _AUDIO_CODECS.get(suffix.lower())
    if codec is None:
        raise MediaError(f"audio cannot be written to {suffix!r} files; use one of {', '.join(_AUDIO_CODECS)}")
    rate = 48_000 if codec == "libopus" else audio.sample_rate
    return container.add_stream(codec, rate=rate, layout="mono")  # type: ignore[return-value]


def _encode_audio(container: OutputContainer, stream: av.AudioStream, audio: Waveform) -> None:
    context = stream.codec_context
    formats = context.codec.audio_formats
    resampler = av.AudioResampler(format=formats[0] if formats else "s16", layout="mono", rate=context.sample_rate)
    samples = np.ascontiguousarray(audio.samples[None], dtype=np.float32)
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate = audio.sample_rate
    frame.pts = 0
    frame.time_base = Fraction(1, audio.sample_rate)
    for chunk in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(chunk))
    container.mux(stream.encode(None))


# ---- files


@contextmanager
def _whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path beside the real one with the same suffix; renamed on success, removed on failure."""
    try:
        with atomic_path(Path(path)) as part:
            yield part
    except OSError as error:
        raise MediaAccessError(
            f"{describe(path)} cannot be written ({sanitize(error.strerror or str(error))})"
        ) from None


@contextmanager
def _encoding(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError):
        raise
    except av.error.FFmpegError as error:
        reason = sanitize(error.strerror or type(error).__name__)
        raise MediaError(f"{describe(path)} cannot be encoded ({reason}); try another codec, size or suffix") from None
    except ValueError as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"{describe(path)} cannot be encoded ({sanitize(str(error))})") from None
