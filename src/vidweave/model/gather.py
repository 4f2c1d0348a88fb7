"""One scene → one row per stream: a file is opened once and decoded once for all streams that read it."""

# Axes: T segments, F window (frames per segment), H height, W width

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from vidweave.errors import ModalityError, ShapeError
from vidweave.media.fingerprint import content_hash
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.media.open import OpenSource, open_clip
from vidweave.media.plan import plan_frames
from vidweave.media.preprocess import apply
from vidweave.model.cache import FeatureCache
from vidweave.model.config import ModelSpec, StreamConfig
from vidweave.model.pool import pool_seconds
from vidweave.registry import MODALITIES
from vidweave.types import (
    Clip,
    FrameNeed,
    Frames,
    MotionSpec,
    PrecomputedFeatures,
    StoreEntry,
    Summarized,
    config_to_dict,
)

T = TypeVar("T")

_READING = 2  # version of the readers; raise it when they read other values from the same bytes

__all__ = ["OpenScene", "StreamRow", "check_modalities", "gather_scene", "route"]


@dataclass(frozen=True, eq=False, repr=False)
class StreamRow(Summarized):
    """One present (item, scene) pair of a stream.

    `values` (T, …) are for the encoder, and `entry` is the store entry of their features; `features` (T, N, C) are
    already computed. `frames` are the indices and times.
    """

    modality: str
    seconds: Tensor  # (T, 2)
    values: Tensor | None = None
    features: Tensor | None = None
    entry: StoreEntry | None = None
    frames: list[tuple[int, float]] = field(default_factory=list)
    why: str = ""
    notes: list[str] = field(default_factory=list)

    def without_tensors(self) -> StreamRow:
        """The row without tensors, for the Trace."""
        return replace(self, values=None, features=None, entry=None)


def route(stream: StreamConfig, clip: Clip) -> str | None:
    """The modality of `clip` that feeds `stream`, or None."""
    return next((modality for modality in stream.modalities if modality in clip), None)


def check_modalities(spec: ModelSpec, clip: Clip) -> None:
    """Every supplied modality must reach a token or the selector.

    Raises:
        ModalityError: a modality that no stream takes; names those that the model takes.
    """
    used = {route(stream, clip) for stream in spec.streams.values()}
    unused = [modality for modality in clip if modality not in used]
    if unused:
        takes = sorted({m for stream in spec.streams.values() for m in stream.modalities})
        raise ModalityError(
            f"{', '.join(unused)} was given, but no stream of this model uses it (it takes "
            f"{', '.join(takes)}); leave it out or use a model with a stream for it"
        )


class OpenScene:
    """The opened sources of one clip; each path or array is opened once, whatever the number of streams."""

    def __init__(self, clip: Clip, limits: Limits = DEFAULT_LIMITS) -> None:
        self.clip = clip
        self.limits = limits
        self._open: dict[tuple[int | str, str], OpenSource] = {}
        self._content: dict[str, str] = {}

    def source(self, modality: str) -> OpenSource:
        """The opened source of `modality`; features that were computed before have none."""
        raw = self.clip[modality]
        key = (str(raw) if not isinstance(raw, np.ndarray) and not hasattr(raw, "values") else id(raw), modality)
        if key not in self._open:
            self._open[key] = open_clip(self.clip, modality, limits=self.limits)
        return self._open[key]

    def content(self, modality: str) -> str:
        """The hash of the content of `modality`, computed once for all streams."""
        if modality not in self._content:
            rate = "" if self.clip.fps is None else f"@{self.clip.fps:g}"  # motion and spans depend on times
            self._content[modality] = content_hash(self.clip[modality]) + rate
        return self._content[modality]

    @property
    def span(self) -> tuple[float, float] | None:
        """The requested span in seconds; None is the whole clip."""
        if self.clip.start_seconds is None and self.clip.end_seconds is None:
            return None
        return (
            self.clip.start_seconds or 0.0,
            float("inf") if self.clip.end_seconds is None else self.clip.end_seconds,
        )

    def timeline(self, modality: str) -> np.ndarray:
        """Times (N,) of the frames of `modality` inside the span."""
        pts_seconds, _ = self.source(modality).timeline()
        if self.span is None:
            return pts_seconds
        start, end = self.span
        inside = (pts_seconds >= start) & (pts_seconds <= end)
        return pts_seconds[inside]

    def close(self) -> None:
        """Close all files."""
        for source in self._open.values():
            source.close()
        self._open.clear()


def gather_scene(
    spec: ModelSpec,
    scene: OpenScene,
    needs: Mapping[str, FrameNeed],
    *,
    timestamps: np.ndarray | None = None,
    why: str = "uniform",
    cache: FeatureCache | None = None,
) -> dict[str, StreamRow]:
    """Rows of all streams of `needs` that `scene` can feed.

    Args:
        needs: Stream name → its need (a selector's stream or the connector's, perhaps with the user's numbers).
        timestamps: (k,) seconds that a selector chose; None samples frames by each need's own rule.
        cache: Known features are taken from it; the rows of unknown ones carry the entry where they are to be kept.
    """
    routes = {name: route(spec.streams[name], scene.clip) for name in needs}
    rows: dict[str, StreamRow] = {}
    kinds = {name: (m, _kind(spec, scene, name, m)) for name, m in routes.items() if m}
    for modality, kind in dict.fromkeys(kinds.values()):
        names = [name for name, result in kinds.items() if result == (modality, kind)]
        reading = _Reading(
            spec, scene, modality, {n: _shown(needs[n], modality) for n in names}, timestamps, why, cache
        )
        rows |= _READERS.get(kind, _read_carrier)(reading)
    return rows


def _shown(need: FrameNeed, modality: str) -> FrameNeed:
    """The need of a stream for `modality`: an image is one segment if `need.still` is `once`."""
    return replace(need, num_frames=need.window, stride=1) if modality == "image" and need.still == "once" else need


def _kind(spec: ModelSpec, scene: OpenScene, stream: str, modality: str) -> str:
    """How a stream reads a modality: a key of `_READERS`, or of `registry.CARRIERS`."""
    if isinstance(scene.clip[modality], PrecomputedFeatures):
        return "features"
    if isinstance(spec.encoders[spec.streams[stream].encoder].specs[modality], MotionSpec):
        return "motion"
    return MODALITIES.entry(modality).facts.carrier


@dataclass(frozen=True, eq=False)
class _Reading:
    """One modality of one scene, and the streams that it feeds; arguments as in `gather_scene`."""

    spec: ModelSpec
    scene: OpenScene
    modality: str
    needs: dict[str, FrameNeed]
    timestamps: np.ndarray | None
    why: str
    cache: FeatureCache | None

    def preprocess(self, stream: str) -> Any:
        """The spec of the stream's encoder for this modality."""
        return self.spec.encoders[self.spec.streams[stream].encoder].specs[self.modality]

    def row(
        self,
        stream: str,
        values: Callable[[], Tensor],
        seconds: Tensor,
        plan: dict[str, Any],
        notes: Callable[[], list[str]] = list,
    ) -> StreamRow:
        """A row with values for the encoder, or with cached features, for which nothing is decoded.

        Features have been pooled, so their times are too. Its notes are those of `notes`, which is called after `values`,
        or those that were kept with the features.

        Args:
            plan: Which part of the content it is; one part of the cache's key.
        """
        seconds = seconds.to(torch.float32)
        if self.cache is None or not self.cache.serves(stream):
            return StreamRow(self.modality, seconds, values(), notes=notes())
        config = self.spec.streams[stream]
        parts = {
            "reading": _READING,
            "content": self.scene.content(self.modality),
            "modality": self.modality,
            "preprocess": config_to_dict(self.preprocess(stream)),
            "window": self.needs[stream].window,
            **plan,
        }
        entry = self.cache.entry(stream, self.modality, parts)
        known = self.cache.find(entry)
        if known is None:
            made, info = self.cache.make(entry, values, notes)
            entry = replace(entry, info={**entry.info, "notes": info}) if info else entry
            return StreamRow(self.modality, seconds, made, entry=entry, notes=info)
        features, info = known
        pooled, _ = pool_seconds(seconds[None], torch.ones(1, len(seconds), dtype=torch.bool), config.pool)
        return StreamRow(self.modality, pooled[0], features=features, notes=info)


def _read_frames(reading: _Reading) -> dict[str, StreamRow]:
    modality, timestamps = reading.modality, reading.timestamps
    source = reading.scene.source(modality)
    pts_seconds, duration_seconds = source.timeline()
    plan = plan_frames(reading.needs, pts_seconds, duration_seconds, span=reading.scene.span, timestamps=timestamps)
    decoded = _Once(lambda: source.read_frames(plan.indices))
    rows = {}
    for name, need in reading.needs.items():
        positions = plan.streams[name]
        indices = plan.indices[positions]
        seconds = _segment_seconds(pts_seconds[indices], need.window, duration_seconds)

        def values(name: str = name, positions: np.ndarray = positions, window: int = need.window) -> Tensor:
            frames = decoded()
            picked = Frames(frames.values[positions], frames.pts_seconds[positions], frames.indices[positions])
            tensor, _ = apply(reading.preprocess(name), picked)
            return tensor.unflatten(0, (len(positions) // window, -1))  # with crops, more frames than positions

        used = [(int(i), float(pts_seconds[i])) for i in indices]
        row = reading.row(
            name,
            values,
            seconds,
            {"indices": indices.tolist()},
            lambda: [*source.notes, *_lost_note(decoded, modality)],
        )
        notes = list(dict.fromkeys([*source.notes, *row.notes, *plan.notes]))
        why = reading.why if timestamps is not None and need.follow_selection else plan.why
        rows[name] = replace(row, frames=used, why=why, notes=notes)
    return rows


def _lost_note(decoded: _Once[Frames], modality: str) -> list[str]:
    if decoded.value is None or not decoded.value.num_lost:
        return []
    return [f"{modality}: {decoded.value.num_lost} frames could not be decoded; the nearest ones replace them"]


def _read_motion(reading: _Reading) -> dict[str, StreamRow]:
    source, span, rows = reading.scene.source(reading.modality), reading.scene.span, {}
    for name in reading.needs:
        spec = reading.preprocess(name)
        maps = _Once(lambda spec=spec: source.read_motion(spec, span=span))
        seconds = torch.from_numpy(source.motion_seconds(spec, span=span))
        row = reading.row(
            name,
            lambda maps=maps: torch.from_numpy(maps().values)[:, None],
            seconds,
            {"span": None if span is None else [str(border) for border in span]},
            lambda maps=maps: maps().notes,
        )
        rows[name] = replace(row, why=spec.source)
    return rows


def _read_waveform(reading: _Reading) -> dict[str, StreamRow]:
    modality = reading.modality
    start, end = reading.scene.span or (None, None)
    end = None if end == float("inf") else end
    rows = {}
    for name in reading.needs:
        audio_spec = reading.preprocess(name)
        source = reading.scene.source(modality)
        waveform = source.read_waveform(audio_spec.sample_rate, start_seconds=start, end_seconds=end)
        tensor, seconds = apply(audio_spec, waveform)
        row = reading.row(name, lambda t=tensor: t, seconds, {"span": [start, end]})
        covered = tensor.shape[0] * audio_spec.window_seconds
        notes = list(source.notes)
        if covered + 1e-6 < waveform.duration_seconds:
            notes.append(
                f"{modality}: {covered:.1f} s of {waveform.duration_seconds:.1f} s heard (AudioSpec.max_windows)"
            )
        rows[name] = replace(row, why="whole clip", notes=notes)
    return rows


def _read_points(reading: _Reading) -> dict[str, StreamRow]:
    rows = {}
    for name in reading.needs:
        source = reading.scene.source(reading.modality)
        tensor, _ = apply(reading.preprocess(name), source.read_points())
        row = reading.row(name, lambda t=tensor: t, torch.zeros(1, 2), {})
        rows[name] = replace(row, why="whole cloud", notes=source.notes)
    return rows


def _read_carrier(reading: _Reading) -> dict[str, StreamRow]:
    """A carrier of `registry.CARRIERS`: its spec says all that is to be known."""
    start, end = reading.scene.span or (None, None)
    end = None if end == float("inf") else end
    rows = {}
    for name in reading.needs:
        source = reading.scene.source(reading.modality)
        tensor, seconds = apply(reading.preprocess(name), source.read_carrier(start_seconds=start, end_seconds=end))
        row = reading.row(name, lambda t=tensor: t, seconds, {"span": [start, end]})
        rows[name] = replace(row, why="all of it", notes=source.notes)
    return rows


def _read_features(reading: _Reading) -> dict[str, StreamRow]:
    given: PrecomputedFeatures = reading.scene.clip[reading.modality]
    values, seconds = np.asarray(given.values), np.asarray(given.seconds, dtype=np.float32)
    label = f"features of stream {next(iter(reading.needs))!r}"
    if values.dtype.kind != "f" or not values.size:
        raise ShapeError(
            f"{label} are {values.dtype} of shape {values.shape}; floats were expected, at least one token"
        )
    if not (np.isfinite(values).all() and np.isfinite(seconds).all()):
        raise ShapeError(f"{label} hold NaN or infinite values or times; clean them first")
    row = StreamRow(
        reading.modality, torch.from_numpy(seconds), features=torch.from_numpy(values), why="features given"
    )
    return dict.fromkeys(reading.needs, row)


_READERS: dict[str, Callable[[_Reading], dict[str, StreamRow]]] = {
    "frames": _read_frames,
    "waveform": _read_waveform,
    "points": _read_points,
    "motion": _read_motion,
    "features": _read_features,
}


def _segment_seconds(pts_seconds: np.ndarray, window: int, duration_seconds: float) -> Tensor:
    """Start and end (T, 2) of segments of `window` frames; a segment ends where the next frame would start."""
    grouped = pts_seconds.reshape(-1, window)
    steps = np.diff(np.unique(pts_seconds))
    step = float(np.median(steps)) if len(steps) else 0.0
    ends = np.minimum(grouped[:, -1] + step, max(duration_seconds, float(pts_seconds.max(initial=0.0))))
    return torch.from_numpy(np.stack([grouped[:, 0], ends], axis=1).astype(np.float32))


class _Once(Generic[T]):
    """A value computed at the first call and kept, so that frames of cached features are never decoded."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self.value: T | None = None

    def __call__(self) -> T:
        if self.value is None:
            self.value = self._make()
        return self.value
