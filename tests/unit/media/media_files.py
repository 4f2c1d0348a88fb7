"""Small media files made on the spot, and the plainest possible reference decoder."""

from __future__ import annotations

import io
import wave
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

CLOCK = Fraction(1, 1_000)


def pattern(count: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Frames (count, H, W, 3) that differ in brightness and in the place of a bar."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    for i in range(count):
        frames[i, ..., 0] = (i * 9) % 250
        frames[i, :, (3 * i) % width : (3 * i) % width + 5, 1] = 255
        frames[i, (2 * i) % height, :, 2] = 200
    return frames


def encode(
    path: Path,
    codec: str = "libx264",
    *,
    count: int = 30,
    size: tuple[int, int] = (64, 48),
    pixel_format: str = "yuv420p",
    fps: int = 10,
    gop: int = 12,
    b_frames: int | None = None,
    options: dict[str, str] | None = None,
    start: float = 0.0,
    times: list[float] | None = None,
    rotation: int | None = None,
    matrix: tuple[int, ...] | None = None,
    sound_seconds: float = 0.0,
    container: dict[str, str] | None = None,
    pictures: np.ndarray | None = None,
) -> Path:
    """Write a video with PyAV directly, independent of `vidweave.media.write`."""
    pictures = pattern(count, size[1], size[0]) if pictures is None else pictures
    with av.open(str(path), "w", container_options=container or {}) as out:
        stream: Any = out.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        stream.options = options or {}
        stream.codec_context.gop_size = gop
        if times is not None:
            stream.codec_context.time_base = CLOCK
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if matrix is not None:
            stream.set_display_matrix(matrix)
        audio: Any = out.add_stream("aac", rate=16_000, layout="mono") if sound_seconds else None
        for i, image in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixel_format)
            frame.pts = round((start + i / fps) * fps) if times is None else round(times[i] / CLOCK)
            frame.time_base = Fraction(1, fps) if times is None else CLOCK
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if audio is not None:
            frame = av.AudioFrame.from_ndarray(tone(sound_seconds, 16_000)[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16_000, 0
            out.mux(audio.encode(frame))
            out.mux(audio.encode(None))
    return path


def sequential(path: Path) -> np.ndarray:
    """All frames, decoded from first to last by PyAV alone."""
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(container.streams.video[0])])


def tone(seconds: float, rate: int, hertz: float = 330.0) -> np.ndarray:
    """A sine (S,) float32."""
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_wav(path: Path, channels: np.ndarray, rate: int) -> Path:
    """(K, S) floats → 16-bit WAV with K channels, by the standard library."""
    data = np.clip(np.round(channels.T * 32_767), -32_768, 32_767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(data.tobytes())
    return path


def bytes_of(array: np.ndarray) -> bytes:
    """An array as the bytes of an `.npy` file."""
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()
