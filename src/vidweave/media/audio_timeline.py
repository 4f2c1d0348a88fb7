"""Place decoded audio in time: gaps become silence, overlaps are cut, restarted clocks are joined."""

# Axes: S samples

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from vidweave.media.limits import Limits

__all__ = ["Chunk", "Timeline", "inside"]

Chunk = tuple[float, int, np.ndarray]  # start in seconds, sample rate, mono samples (S,)

_TOLERANCE_SECONDS = 0.015  # below the shortest usual packet (20 ms), above the jitter of timestamps in milliseconds
_RESTART_SECONDS = 0.3  # timestamps that jump back further belong to another recording, which is joined
_JOIN_SECONDS = 10.0  # as do jumps ahead by more than this in MPEG streams (FFmpeg's threshold, as for video)
_SILENCE_SECONDS = 10.0  # length of silence generated at a time


class Timeline:
    """Place chunks by their timestamps, inside `start`..`end`.

    The position is counted in samples; where timestamps and position differ by more than 15 ms (one lost packet, or the
    sum of many small differences), the position is corrected. Time thus stays correct despite gaps, and jitter has no
    effect. `joins_ahead`: jumps ahead by more than 10 s are also treated as a new clock instead of a gap.
    """

    def __init__(
        self,
        sample_rate: int,
        start: float,
        end: float | None,
        limits: Limits,
        label: str,
        *,
        joins_ahead: bool = False,
    ) -> None:
        self._sample_rate, self._start, self._end, self._joins_ahead = sample_rate, start, end, joins_ahead
        self._limits, self._label = limits, label
        self._silence = self._cut = 0.0
        self._num_gaps = self._num_restarts = 0

    def place(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """Yield the chunks inside the span, each starting where the previous one ends."""
        position: float | None = None
        shift = 0.0
        for seconds, rate, samples in chunks:
            position = seconds if position is None else position
            ahead = round((seconds + shift - position) * rate) / rate  # whole samples
            if ahead < -_RESTART_SECONDS or (self._joins_ahead and ahead > _JOIN_SECONDS):
                shift, ahead = position - seconds, 0.0
                self._num_restarts += 1
            if ahead > _TOLERANCE_SECONDS:
                yield from self._gap(position, ahead, rate)
                position += ahead
            elif ahead < -_TOLERANCE_SECONDS:
                overlap = min(len(samples), round(-ahead * rate))
                self._cut += overlap / rate
                samples = samples[overlap:]
            if self._end is not None and position >= self._end:
                return
            self._limits.check("max_seconds", position + len(samples) / rate, f"{self._label} lasts too many seconds")
            yield from inside(position, rate, samples, self._start, self._end)
            position += len(samples) / rate

    def check_bytes(self, num_samples: int) -> None:
        """Raise MediaLimitError if this many samples at the requested rate take too many bytes."""
        self._limits.check("max_decoded_bytes", 4 * num_samples, f"{self._label} would take too many bytes")

    @property
    def notes(self) -> list[str]:
        """Notes on filled, cut and joined parts."""
        notes = []
        if self._num_gaps:
            notes.append(f"{self._label} has {self._num_gaps} gaps; {self._silence:.2f} s of silence fill them")
        if self._cut:
            notes.append(f"{self._label} overlaps itself; {self._cut:.2f} s were cut")
        if self._num_restarts:
            notes.append(f"the clock of {self._label} jumps {self._num_restarts} times; the parts were joined")
        return notes

    def _gap(self, position: float, length: float, rate: int) -> Iterator[Chunk]:
        """Yield silence for the part of a gap inside the span; its size is checked before it is generated."""
        self._limits.check("max_seconds", position + length, f"{self._label} lasts too many seconds")
        first = max(position, self._start)
        stop = position + length if self._end is None else min(position + length, self._end)
        if stop <= first:
            return
        self.check_bytes(round((stop - first) * self._sample_rate))
        self._num_gaps += 1
        self._silence += stop - first
        left = round(stop * rate) - round(first * rate)
        while left > 0:
            count = min(left, round(_SILENCE_SECONDS * rate))
            yield first, rate, np.zeros(count, np.float32)
            first += count / rate
            left -= count


def inside(seconds: float, rate: int, samples: np.ndarray, start: float, end: float | None) -> Iterator[Chunk]:
    """Yield the part of a chunk that lies in start..end, if any."""
    first = max(0, round((start - seconds) * rate))
    stop = len(samples) if end is None else min(len(samples), round((end - seconds) * rate))
    if stop > first:
        yield seconds + first / rate, rate, samples[first:stop]
