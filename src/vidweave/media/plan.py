"""Plan which frames to decode: one plan for all streams, each with its own need. Pure: no files, no randomness."""

# Axes: N frames of the source, M frames of the plan, T segments, k timestamps

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vidweave.errors import MediaError, MediaLimitError, ShapeError
from vidweave.types import FrameNeed, Summarized

__all__ = [
    "FramePlan",
    "check_times",
    "clip_starts",
    "frames_inside",
    "plan_frames",
    "segment_borders",
    "spread",
    "spread_between",
]


@dataclass(frozen=True, eq=False, repr=False)
class FramePlan(Summarized):
    """Frames to decode, and their assignment to streams.

    Attributes:
        indices: (M,) int64 frames of the source, ascending, each once.
        streams: Stream → (T * window,) int64 positions into `indices`, in temporal order; repeats where needed.
        why: `uniform`, `fps`, `every frame`, `selected`, or several joined by `+`.
        notes: Notes for the user: frames used twice, spans between two frames.
    """

    indices: np.ndarray
    streams: dict[str, np.ndarray]
    why: str
    notes: list[str] = field(default_factory=list)


def plan_frames(
    needs: Mapping[str, FrameNeed],
    pts_seconds: np.ndarray,
    duration_seconds: float,
    *,
    span: tuple[float, float] | None = None,
    timestamps: Sequence[float] | np.ndarray | None = None,
) -> FramePlan:
    """Plan the frames of all streams at once.

    Args:
        needs: Stream → the frames it needs.
        pts_seconds: (N,) ascending times of the frames.
        duration_seconds: End of the last frame.
        span: Start and end in seconds; frames outside are ignored. The end is exclusive.
        timestamps: (k,) seconds chosen by a selector, for streams with `follow_selection`. A stream that needs k frames
            gets the nearest to each timestamp; one that needs another number gets timestamps repeated or thinned
            evenly; with `window` > 1 and other than k frames, each timestamp includes its neighbors.

    Raises:
        MediaError: the span lies outside the clip.
        MediaLimitError: more frames than `FrameNeed.max_frames`.
        ShapeError: no frames, times that do not ascend, or no timestamps.
    """
    times = check_times(pts_seconds)
    first, stop, notes = frames_inside(times, duration_seconds, span)
    chosen: dict[str, np.ndarray] = {}
    reasons: dict[str, None] = {}
    for name, need in needs.items():
        if timestamps is not None and need.follow_selection:
            picked, why = _at_timestamps(need, times, first, stop, _check_timestamps(timestamps)), "selected"
        else:
            picked, why = _over_span(name, need, times, first, stop, duration_seconds, span)
        picked, padding = _whole_segments(picked, need.window)
        chosen[name] = picked
        reasons[why] = None
        notes += _notes(name, picked, padding, stop - first)
    indices = np.unique(np.concatenate(list(chosen.values()))) if chosen else np.zeros(0, dtype=np.int64)
    streams = {name: np.searchsorted(indices, picked) for name, picked in chosen.items()}
    return FramePlan(indices, streams, " + ".join(reasons), list(dict.fromkeys(notes)))


def spread(count: int, available: int, rule: str = "midpoint") -> np.ndarray:
    """Return `count` evenly spread indices into 0..available-1; ascending, with repeats if there are too few.

    `midpoint`: middle of equal parts. `linspace`: first and last included, rounded half to even. `floor`: floor(i *
    available / count), as in transformers. `truncate`: as `linspace`, truncated. `borders`: halfway between
    whole-numbered borders.
    """
    steps = np.arange(count, dtype=np.int64)
    if rule == "linspace":
        return np.rint(np.linspace(0, available - 1, count)).astype(np.int64)
    if rule == "truncate":
        return spread_between(0, available - 1, count, truncate=True)
    if rule == "floor":
        return steps * available // count
    if rule == "borders":
        borders = segment_borders(0, available, count)
        return (borders[:-1] + borders[1:]) // 2
    return (2 * steps + 1) * available // (2 * count)


def spread_between(first: float, last: float, count: int, *, truncate: bool = False) -> np.ndarray:
    """Return `count` indices from `first` to `last`, both included: rounded half to even, or truncated (`truncate`).

    A truncated index may lie before the nearest frame; the caller must keep `last` inside the clip.
    """
    places = np.linspace(first, last, count)
    return (places if truncate else np.rint(places)).astype(np.int64)


def segment_borders(first: float, stop: float, count: int) -> np.ndarray:
    """Return (count + 1,) borders of equal segments: training draws one frame from each [border, next border)."""
    return spread_between(first, stop, count + 1, truncate=True)


def clip_starts(seconds: float, count: int) -> np.ndarray:
    """Return the starts (count,) of one-second clips: k * (seconds - 1) / count, or all 0 if it is shorter than that."""
    return np.arange(count) * (max(0.0, seconds - 1.0) / count)


def check_times(pts_seconds: np.ndarray) -> np.ndarray:
    """Return times (N,) as float64; raise ShapeError unless they are finite and ascending."""
    times = np.asarray(pts_seconds, dtype=np.float64)
    if times.ndim != 1 or not len(times):
        raise ShapeError(f"pts_seconds must be (N,) with at least one frame, got shape {times.shape}")
    if not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise ShapeError("pts_seconds must be finite and ascending")
    return times


def _check_timestamps(timestamps: Sequence[float] | np.ndarray) -> np.ndarray:
    chosen = np.sort(np.asarray(timestamps, dtype=np.float64))
    if chosen.ndim != 1 or not len(chosen) or not np.isfinite(chosen).all():
        raise ShapeError(f"timestamps must be (k,) finite seconds with k at least 1, got {timestamps!r}")
    return chosen


def frames_inside(times: np.ndarray, duration: float, span: tuple[float, float] | None) -> tuple[int, int, list[str]]:
    """Return the frames first..stop-1 inside a span (end exclusive; the displayed frame if it lies between two), and notes.

    Raises:
        MediaError: the span lies outside the clip.
    """
    if span is None:
        return 0, len(times), []
    start, end = span
    last = max(duration, float(times[-1]))
    if not start < end:
        raise MediaError(f"the span ends ({end} s) before it starts ({start} s)")
    if start > last or (start == last and start > times[-1]):
        raise MediaError(f"the span starts at {start} s, but the clip ends at {last:.3f} s; choose an earlier start")
    first, stop = (int(np.searchsorted(times, border, side="left")) for border in (start, end))
    notes = []
    if math.isfinite(end) and end > last + 0.5:
        notes.append(f"the span ends at {end} s, after the clip ({last:.3f} s); its end was used")
    if first < stop:
        return first, stop, notes
    on_show = max(0, first - 1)
    return on_show, on_show + 1, [*notes, f"no frame starts within {start}..{end} s; the frame displayed then was used"]


def _over_span(
    name: str,
    need: FrameNeed,
    times: np.ndarray,
    first: int,
    stop: int,
    duration: float,
    span: tuple[float, float] | None,
) -> tuple[np.ndarray, str]:
    """Return frames by the need's own rule, and the name of the rule."""
    if need.num_frames is not None:
        _check_count(name, need, need.num_frames)
        if need.rule == "clip_starts":
            begin, end = (times[0], duration) if span is None else (max(times[0], span[0]), min(duration, span[1]))
            return _on_show(times, begin + clip_starts(end - begin, need.num_frames)).clip(first, stop - 1), "uniform"
        dense = spread(need.num_frames * need.stride, stop - first, need.rule)
        return first + dense[:: need.stride], "uniform"
    if need.fps is None:
        _check_count(name, need, stop - first)
        return np.arange(first, stop), "every frame"
    begin = max(times[first], span[0]) if span else times[first]
    end = min(duration, span[1]) if span else duration
    count = max(1, math.ceil((end - begin) * need.fps - 1e-9))
    _check_count(name, need, count)
    requested = begin + np.arange(count) / need.fps
    return _on_show(times, requested).clip(first, stop - 1), "fps"


def _on_show(times: np.ndarray, requested: np.ndarray) -> np.ndarray:
    """Return the frame displayed at each time; slightly later, so that rounding does not pick the previous one."""
    return (np.searchsorted(times, requested + 1e-6, side="right") - 1).astype(np.int64)


def _check_count(name: str, need: FrameNeed, count: int) -> None:
    if count > need.max_frames:
        way = next((f"{k}={v}" for k in ("fps", "num_frames") if (v := getattr(need, k)) is not None), "every frame")
        raise MediaLimitError(
            f"stream {name!r} wants {count} frames ({way}), at most {need.max_frames} are allowed;"
            " choose a span or fewer frames, or raise FrameNeed.max_frames"
        )


def _at_timestamps(need: FrameNeed, times: np.ndarray, first: int, stop: int, timestamps: np.ndarray) -> np.ndarray:
    window = need.window
    if need.num_frames is None:
        segments, is_single = len(timestamps), window == 1
    else:
        is_single = window == 1 or need.num_frames == len(timestamps)
        segments = need.num_frames if is_single else need.num_frames // window
    centres = _nearest(times[first:stop], timestamps[spread(segments, len(timestamps))]) + first
    if is_single:
        return centres
    starts = (centres - (window - 1) // 2).clip(first, max(first, stop - window))
    return (starts[:, None] + np.arange(window)).clip(first, stop - 1).reshape(-1)


def _nearest(times: np.ndarray, timestamps: np.ndarray) -> np.ndarray:
    """Return the index of the time nearest to each timestamp; the earlier one on a tie."""
    right = np.searchsorted(times, timestamps).clip(0, len(times) - 1)
    left = (right - 1).clip(0)
    return np.where(timestamps - times[left] <= times[right] - timestamps, left, right).astype(np.int64)


def _whole_segments(picked: np.ndarray, window: int) -> tuple[np.ndarray, int]:
    """Repeat the last frame until all segments are complete."""
    padding = -len(picked) % window
    return np.concatenate([picked, np.repeat(picked[-1:], padding)]), padding


def _notes(name: str, picked: np.ndarray, padding: int, available: int) -> list[str]:
    notes = []
    distinct = len(np.unique(picked))
    if len(picked) - padding > distinct:
        notes.append(
            f"{name}: {len(picked)} frames were requested, {available} are available; {distinct} are used, some twice"
        )
    if padding:
        notes.append(f"{name}: the last frame is repeated {padding} times to fill the last segment")
    return notes
