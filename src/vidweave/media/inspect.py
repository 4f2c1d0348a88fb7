"""Describe a media file as JSON data, counted instead of read from headers. Loads no torch, decodes one frame at most."""

from __future__ import annotations

import os
from typing import Any

import av.error
import numpy as np

from vidweave.errors import MediaDecodeError, MediaError, MediaTypeError
from vidweave.media.arrays import ArrayFile
from vidweave.media.container import open_container, time_origin, video_stream
from vidweave.media.float_maps import read_map
from vidweave.media.frame_folder import FolderFrames
from vidweave.media.guards import GuardedFile
from vidweave.media.image import num_pages, read_image
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.media.pages import PageFrames
from vidweave.media.points import read_points
from vidweave.media.precomputed import read_features
from vidweave.media.sniff import kind_of
from vidweave.media.video import VideoReader

__all__ = ["inspect_file"]


def inspect_file(path: str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS) -> dict[str, Any]:
    """Describe a media file (or folder of images).

    Returns:
        JSON data: `path`, `kind` (`video`, `audio`, `image`, `array`, `map`, `points`, `features`, `folder`), `bytes`,
        `duration_seconds` (None without time), `streams`, `notes`. A video stream has `num_frames` (counted),
        `num_frames_from_header`, `fps` (counted), `fps_from_header`, `rotation`, `is_mirrored`, `width` and `height` as
        displayed, `codec`, `num_keyframes`, `start_seconds`, `num_corrupt_packets`, `decodes`. An audio stream has
        `sample_rate`, `num_channels`, `codec`, `duration_seconds`.

    Raises:
        MediaError: the file cannot be opened; see `vidweave.errors`.
    """
    if isinstance(path, (str, os.PathLike)) and os.path.isdir(path):
        return _folder(path, limits)
    with GuardedFile(path, limits=limits) as file:
        kind, size = kind_of(file.head()), file.size
    facts = {
        "image": _image,
        "array": _array,
        "map": _map,
        "points": _points,
        "features": _features,
        "container": _container,
    }
    return {"path": os.fspath(path), "bytes": size, **facts[kind](path, limits)}


def _facts(
    kind: str, duration: float | None, streams: list[dict[str, Any]], notes: list[str] | None = None
) -> dict[str, Any]:
    return {"kind": kind, "duration_seconds": duration, "streams": streams, "notes": notes or []}


def _container(path: Any, limits: Limits) -> dict[str, Any]:
    with GuardedFile(path, limits=limits) as file, open_container(file) as container:
        audio, notes = _audio(container, file.label)
        name, title = container.format.name, container.format.long_name
        try:
            video_stream(container, file.label)
        except MediaTypeError:
            if not audio:
                raise MediaTypeError(f"{file.label} has neither video nor audio") from None
            duration = max((s["duration_seconds"] for s in audio), default=0.0)
            return {**_facts("audio", duration, audio, notes), "format": name, "format_name": title}
    with VideoReader(path, limits=limits) as reader:
        video = _video(reader)
        duration = max([reader.duration_seconds, *(s["duration_seconds"] for s in audio)])
        facts = _facts("video", duration, [video, *audio], [*reader.notes, *notes])
    return {**facts, "format": name, "format_name": title}


def _video(reader: VideoReader) -> dict[str, Any]:
    shown = reader.duration_seconds - float(reader.pts_seconds[0])
    stream = reader.stream
    rate, index = stream.average_rate, reader.index
    facts: dict[str, Any] = {
        "type": "video",
        "codec": reader.codec,
        "num_frames": reader.num_frames,
        "num_frames_from_header": reader.num_frames_from_header,
        "num_keyframes": len(index.key_pts),
        "fps": round(reader.num_frames / shown, 6) if shown > 0 else None,
        "fps_from_header": float(rate) if rate else None,
        "is_constant_rate": _is_constant(reader.pts_seconds),
        "start_seconds": float(reader.pts_seconds[0]),
        "duration_seconds": reader.duration_seconds,
        "pixel_format": stream.codec_context.pix_fmt,
    }
    try:
        facts |= {
            "width": reader.width,
            "height": reader.height,
            "rotation": reader.rotation,
            "is_mirrored": bool(reader.is_mirrored),
            "decodes": True,
        }
    except MediaDecodeError:
        facts |= {
            "width": stream.width,
            "height": stream.height,
            "rotation": None,
            "is_mirrored": None,
            "decodes": False,
        }
    return {**facts, "num_corrupt_packets": reader.num_corrupt_packets}


def _is_constant(pts_seconds: np.ndarray) -> bool:
    gaps = np.diff(pts_seconds)
    return bool(len(gaps) == 0 or gaps.max() - gaps.min() <= 0.002)  # millisecond clocks jitter by one


def _audio(container: Any, label: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Describe all audio streams, timed by one pass over their packets."""
    streams = [stream for stream in container.streams.audio if stream.codec_context is not None]
    ends: dict[int, float] = {stream.index: 0.0 for stream in streams}
    origin, notes = float(time_origin(container)), []
    try:
        for packet in container.demux(streams) if streams else ():
            if packet.size and packet.pts is not None:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base) - origin
                ends[packet.stream_index] = max(ends[packet.stream_index], end)
    except (av.error.FFmpegError, EOFError):
        notes.append(f"{label}: the audio could not be read to its end")
    facts = [
        {
            "type": "audio",
            "codec": stream.codec_context.name,
            "sample_rate": stream.codec_context.sample_rate,
            "num_channels": stream.codec_context.layout.nb_channels,
            "duration_seconds": ends[stream.index],
        }
        for stream in streams
    ]
    return facts, notes


def _image(path: Any, limits: Limits) -> dict[str, Any]:
    if (count := num_pages(path, limits=limits)) > 1:
        frames = PageFrames(path, fps=1.0, limits=limits)
        _, height, width, channels = frames.read([0]).values.shape
        stream = {"type": "image", "num_frames": count, "width": width, "height": height, "num_channels": channels}
        return _facts("image", frames.duration_seconds, [stream], frames.notes)
    frames = read_image(path, limits=limits)
    _, height, width, channels = frames.values.shape
    stream = {"type": "image", "num_frames": 1, "width": width, "height": height, "num_channels": channels}
    return _facts("image", None, [stream], list(frames.notes))


def _map(path: Any, limits: Limits) -> dict[str, Any]:
    with GuardedFile(path, limits=limits) as file:
        height, width, channels = read_map(file, limits=limits).shape
    return _facts("map", None, [{"type": "map", "width": width, "height": height, "num_channels": channels}])


def _array(path: Any, limits: Limits) -> dict[str, Any]:
    with ArrayFile(path, limits=limits) as array:
        stream = {"type": "array", "shape": list(array.shape), "dtype": str(array.dtype)}
    return _facts("array", None, [stream])


def _points(path: Any, limits: Limits) -> dict[str, Any]:
    cloud = read_points(path, limits=limits)
    width = 0 if cloud.features is None else cloud.features.shape[1]
    return _facts("points", None, [{"type": "points", "num_points": len(cloud), "feature_width": width}])


def _features(path: Any, limits: Limits) -> dict[str, Any]:
    features = read_features(path, limits=limits)
    stream = {"type": "features", "shape": list(features.values.shape), "dtype": str(features.values.dtype)}
    return _facts("features", float(features.seconds.max()), [stream])


def _folder(path: str | os.PathLike[str], limits: Limits) -> dict[str, Any]:
    notes, timing = [], None
    try:
        source = FolderFrames(path, limits=limits)
    except MediaTypeError:
        raise
    except MediaError as error:  # a missing frame rate should not prevent inspection
        notes.append(str(error))
        source = FolderFrames(path, fps=1.0, limits=limits)
    else:
        timing = source.duration_seconds
    _, height, width, _ = source.read([0]).values.shape
    stream = {"type": "folder", "num_frames": len(source.files), "width": width, "height": height}
    size = sum(file.stat().st_size for file in source.files)
    return {"path": os.fspath(path), "bytes": size, **_facts("folder", timing, [stream], notes)}
