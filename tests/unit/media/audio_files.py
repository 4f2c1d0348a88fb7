"""Audio files of known content, encoded with PyAV, and measures of what comes back."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vidweave.types import Waveform

LOW, HIGH = 300.0, 500.0


def sine(seconds: float, rate: int, hertz: float) -> np.ndarray:
    """A sine (S,) float32 of amplitude 0.4."""
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def two_tones(seconds: float, rate: int) -> np.ndarray:
    """(2, S): the left channel sounds LOW, the right one HIGH."""
    return np.stack([sine(seconds, rate, LOW), sine(seconds, rate, HIGH)])


def encode_audio(path: Path, codec: str, channels: np.ndarray, rate: int, *, start: float = 0.0) -> Path:
    """Write (K, S) floats with one audio stream whose first sample stands at `start` seconds."""
    layout = {1: "mono", 2: "stereo"}[len(channels)]
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        formats = stream.codec_context.codec.audio_formats
        resampler = av.AudioResampler(format=formats[0].name if formats else "s16", layout=layout, rate=rate)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, round(start * rate), Fraction(1, rate)
        for chunk in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(chunk))
        out.mux(stream.encode(None))
    return path


def pcm_packets(path: Path, rate: int, times: list[float], *, seconds: float = 0.02) -> Path:
    """A Matroska file of PCM packets of `seconds` each (constant 0.25) at the given times."""
    count = round(seconds * rate)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=rate, layout="mono")
        out.start_encoding()
        for time in times:
            packet = av.Packet(np.full(count, 8_192, "<i2").tobytes())
            packet.stream, packet.time_base = stream, Fraction(1, 1_000)
            packet.pts = packet.dts = round(time * 1_000)
            packet.duration = round(seconds * 1_000)
            out.mux_one(packet)
    return path


def strength(waveform: Waveform, hertz: float, start: float = 0.1, end: float | None = None) -> float:
    """Amplitude of the sine of `hertz` between `start` and `end` seconds of the waveform (the last 0.1 s left out)."""
    rate = waveform.sample_rate
    stop = len(waveform.samples) - rate // 10 if end is None else round(end * rate)
    part = waveform.samples[round(start * rate) : stop]
    return float(2 * abs(np.mean(part * np.exp(-2j * np.pi * hertz * np.arange(len(part)) / rate))))
