"""Read audio: decode every channel, average the channels, and resample.

FFmpeg's own mono down-mix is not the mean of the channels (a stereo pair comes out sqrt(2) louder, many channels clip).
"""

# Axes: S samples, K channels

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction

import av
import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer

from vidweave.errors import MediaDecodeError, MediaError, MediaTypeError
from vidweave.media.audio_timeline import Timeline, inside
from vidweave.media.container import Deadline, decoding, open_container, require_codec, time_origin
from vidweave.media.guards import GuardedFile
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.types import Waveform

__all__ = ["channel_samples", "check_audio", "read_audio"]

_PREROLL_SECONDS = 0.5  # lossy codecs need some packets before the first valid sample
_COUNTED_FORMATS = ("aac", "mp3", "flac", "amr")  # FFmpeg times these at the first rate, even where it changes
_JOINED_FORMATS = ("mpegts", "mpeg", "flv", "ogg")  # may be concatenated with their clocks, so that seeking fails
_LOUDEST = 4.0  # larger peaks are not codec overshoot: the samples have another unit
_ANTIPHASE = 0.01  # energy of the channel mean relative to the channels, below which they cancel each other


def read_audio(
    source: str | os.PathLike[str] | bytes | Waveform,
    *,
    sample_rate: int,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Waveform:
    """Read the first audio track, or a span of it, as mono at `sample_rate` Hz.

    Time 0 is the start of the file (of its earliest stream). Samples are placed by timestamps: gaps and corrupt packets
    become silence, overlaps are cut, and a track whose clock restarts is joined (`audio_timeline`).

    Returns:
        Waveform (S,) float32, mean of all channels, starting where the span (or the track) starts; its notes report
        filled or cut parts, and channels that cancel each other.

    Raises:
        MediaTypeError: there is no audio track.
        MediaDecodeError: the track is empty or none of it can be decoded.
        MediaError: the span lies after the end.
        MediaLimitError: above `Limits.max_seconds`, `max_decoded_bytes` or `max_decode_seconds`.
    """
    if sample_rate < 1:
        raise MediaError(f"sample_rate must be positive, got {sample_rate}")
    if isinstance(source, Waveform):
        _check_finite(source.samples, "the given waveform")
        return _cut(source, sample_rate, start_seconds, end_seconds)
    with GuardedFile(source, limits=limits) as file, open_container(file) as container:
        stream = _audio_track(container, file.label)
        reader = _Reader(container, stream, file.label, limits)
        waveform = reader.read(sample_rate, start_seconds or 0.0, end_seconds)
        file.check_unchanged()
    return waveform


def check_audio(source: str | os.PathLike[str] | bytes, *, limits: Limits = DEFAULT_LIMITS) -> None:
    """Raise what `read_audio` would raise about the file itself, without decoding."""
    with GuardedFile(source, limits=limits) as file, open_container(file) as container:
        _audio_track(container, file.label)


def channel_samples(frame: AudioFrame) -> np.ndarray:
    """Return the channels of one decoded frame, (K, S) float64 in -1..1."""
    samples = frame.to_ndarray()
    channels = frame.layout.nb_channels
    planes = samples if frame.format.is_planar else samples.reshape(-1, channels).T
    if planes.dtype.kind == "f":
        return planes.astype(np.float64)
    info = np.iinfo(planes.dtype.name)
    middle = (int(info.max) + 1) // 2 if info.min == 0 else 0
    return (planes.astype(np.float64) - middle) / float(middle or int(info.max) + 1)


class _Reader:
    """One pass over one track: decode, average, place in time, cut to the span and resample, chunk by chunk."""

    def __init__(self, container: InputContainer, stream: AudioStream, label: str, limits: Limits) -> None:
        self.container, self.stream, self.label, self.limits = container, stream, label, limits
        self.origin = float(time_origin(container))
        self.num_corrupt = 0
        self.mean_energy = self.channel_energy = 0.0

    def read(self, sample_rate: int, start: float, end: float | None) -> Waveform:
        format_name = self.container.format.name
        if start > 0 and format_name not in _JOINED_FORMATS:
            self._seek(start)
        chunks: list[np.ndarray] = []
        count, begin, last = 0, None, 0.0
        resampler: _Rate | None = None
        timeline = Timeline(
            sample_rate,
            start,
            end,
            self.limits,
            f"the audio of {self.label}",
            joins_ahead=format_name in ("mpegts", "mpeg"),
        )
        for seconds, rate, samples in timeline.place(self._frames()):
            begin = seconds if begin is None else begin
            last = seconds + len(samples) / rate
            if resampler is None:
                resampler = _Rate(rate, sample_rate)
            for chunk in resampler.push(samples, rate):
                count += len(chunk)
                timeline.check_bytes(count)
                chunks.append(chunk)
        if resampler is None or begin is None:
            raise self._nothing(start)
        chunks += resampler.flush()
        samples = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
        _check_finite(samples, self.label)
        samples = samples[: max(1, round((last - begin) * sample_rate))]
        return Waveform(samples, sample_rate, begin, (*timeline.notes, *self._notes()))

    def _frames(self) -> Iterator[tuple[float, int, np.ndarray]]:
        """Yield (start in seconds, rate, mono samples) for every frame that can be decoded."""
        deadline = Deadline(self.limits, self.label)
        clock, first_rate, has_own_times = 0.0, None, True
        for frame in self._decoded():
            deadline.check()
            first_rate = first_rate or frame.sample_rate
            if frame.sample_rate != first_rate and self.container.format.name in _COUNTED_FORMATS:
                has_own_times = False
            if has_own_times and frame.pts is not None and frame.time_base is not None:
                clock = float(frame.pts * Fraction(frame.time_base)) - self.origin
            channels = channel_samples(frame)
            samples = channels.mean(axis=0)
            self.channel_energy += float(np.square(channels).sum()) / len(channels)
            self.mean_energy += float(np.square(samples).sum())
            if frame.is_corrupt:
                self.num_corrupt += 1
            yield clock, frame.sample_rate, samples.astype(np.float32)
            clock += len(samples) / frame.sample_rate

    def _notes(self) -> list[str]:
        notes = []
        if self.num_corrupt:
            notes.append(f"the audio of {self.label} has {self.num_corrupt} corrupt packets")
        if self.mean_energy < _ANTIPHASE * self.channel_energy:
            notes.append(
                f"the channels of {self.label} cancel each other (antiphase): their mean is nearly silent; "
                "invert one of them, or use one channel only"
            )
        return notes

    def _decoded(self) -> Iterator[AudioFrame]:
        try:
            for packet in self.container.demux(self.stream):
                try:
                    yield from packet.decode()  # type: ignore[misc]
                except (av.error.FFmpegError, EOFError):
                    self.num_corrupt += 1
        except (av.error.FFmpegError, EOFError):
            self.num_corrupt += 1

    def _seek(self, start: float) -> None:
        base = self.stream.time_base
        if base is None:
            return
        ticks = int((max(0.0, start - _PREROLL_SECONDS) + self.origin) / float(base))
        try:
            self.container.seek(ticks, stream=self.stream, backward=True)
        except (av.error.FFmpegError, EOFError):
            self.container.seek(0)

    def _nothing(self, start: float) -> MediaError:
        if start > 0:
            return MediaError(f"{self.label} has no audio at or after {start} s; choose an earlier span")
        if self.num_corrupt:
            return MediaDecodeError(f"the audio of {self.label} cannot be decoded; the file is corrupt")
        return MediaDecodeError(f"the audio track of {self.label} is empty")


class _Rate:
    """Resampler of mono chunks; does nothing if the rate already matches."""

    def __init__(self, source_rate: int, target_rate: int) -> None:
        self.source_rate, self.target_rate = source_rate, target_rate
        self._resampler = self._make() if source_rate != target_rate else None

    def push(self, samples: np.ndarray, rate: int) -> Iterator[np.ndarray]:
        if rate != self.source_rate:  # the rate changes within the track
            yield from self.flush()
            self.source_rate = rate
            self._resampler = self._make() if rate != self.target_rate else None
        if self._resampler is None:
            yield samples
            return
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="fltp", layout="mono")
        frame.sample_rate = rate
        for out in self._resampler.resample(frame):
            yield out.to_ndarray()[0]

    def flush(self) -> list[np.ndarray]:
        return [] if self._resampler is None else [out.to_ndarray()[0] for out in self._resampler.resample(None)]

    def _make(self) -> AudioResampler:
        return AudioResampler(format="fltp", layout="mono", rate=self.target_rate)


def _audio_track(container: InputContainer, label: str) -> AudioStream:
    stream = container.streams.best("audio")
    if stream is None:
        raise MediaTypeError(f"{label} has no audio track; omit the audio, or give a file that has one")
    require_codec(stream, label)
    stream.codec_context.thread_count = 1
    return stream  # type: ignore[return-value]


def _cut(waveform: Waveform, sample_rate: int, start: float | None, end: float | None) -> Waveform:
    """Cut a span out of a waveform in memory and resample it."""
    rate = waveform.sample_rate
    parts = list(inside(waveform.start_seconds, rate, waveform.samples, start or 0.0, end))
    if not parts:
        what = "is empty" if not len(waveform.samples) else f"has no audio between {start or 0.0} s and {end} s"
        raise MediaDecodeError(f"the given waveform {what}")
    begin, _, samples = parts[0]
    if rate != sample_rate:
        change = _Rate(rate, sample_rate)
        with decoding("the given waveform"):
            chunks = [*change.push(samples.astype(np.float32), rate), *change.flush()]
        samples = np.concatenate(chunks)[: max(1, round(len(samples) * sample_rate / rate))]
    peak = float(np.abs(samples).max(initial=0.0))
    loud = (
        [f"the given waveform reaches {peak:g}, but samples are expected in -1..1; give integers with their own dtype"]
        if peak > _LOUDEST
        else []
    )
    return Waveform(samples.astype(np.float32, copy=False), sample_rate, begin, (*waveform.notes, *loud))


def _check_finite(samples: np.ndarray, label: str) -> None:
    bad = int((~np.isfinite(samples)).sum())
    if bad:
        raise MediaDecodeError(
            f"{label} holds {bad} samples that are not finite (NaN or infinity); clean the audio first"
        )
