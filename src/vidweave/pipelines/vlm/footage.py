"""The frames of a query: open its clips, choose times by a selector or a rule, and decode."""

# Axes: N frames of the file, T frames that are used, H height, W width

from __future__ import annotations

from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np

from vidweave.errors import MediaError, ModalityError, ShapeError
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.media.open import OpenSource, open_clip
from vidweave.media.plan import frames_inside, plan_frames
from vidweave.pipelines.frame_selection.timeline import span_of
from vidweave.pipelines.selecting import check_cancelled
from vidweave.pipelines.trace import Stopwatch
from vidweave.pipelines.vlm.family import Footage
from vidweave.types import Clip, FrameNeed, FrameSelection, FrameSelector, FrameUse, PrecomputedFeatures, Query

__all__ = ["FrameOptions", "Shot", "read_shots"]

MODALITIES = ("video", "image")


@dataclass(frozen=True, kw_only=True)
class FrameOptions:
    """Which frames of each video are used.

    Attributes:
        num_frames: Number of frames; None is the model's own, or fewer where a video is shorter.
        fps: Sample densely at this rate instead.
        selector: Chooses the frames; None spaces them evenly.
        limits: Limits on media.
        cancel: Set it from another thread to stop the call.
    """

    num_frames: int | None = None
    fps: float | None = None
    selector: FrameSelector | None = None
    limits: Limits | None = None
    cancel: Event | None = None


@dataclass(frozen=True, eq=False)
class Shot:
    """Decoded frames of one video or image of a scene, and how they were chosen."""

    label: str
    modality: str
    footage: Footage
    uses: tuple[FrameUse, ...]
    notes: tuple[str, ...] = ()
    selection: FrameSelection | None = None


def read_shots(query: Query, default: int, options: FrameOptions, watch: Stopwatch) -> list[Shot]:
    """Frames of every video and image of `query`, in order of its scenes.

    Raises:
        ModalityError: a scene without video and image, or with a modality that such a model does not read.
        MediaError: a source that cannot be used, or a video with fewer frames than requested.
    """
    shots = []
    for scene in query.scenes:
        _check_modalities(scene.clip, scene.label)
        for modality in scene.clip:
            check_cancelled(options.cancel)
            read = _read_video if modality == "video" else _read_image
            shots.append(read(scene.label, scene.clip, query, default, options, watch))
    return shots


def _check_modalities(clip: Clip, label: str) -> None:
    where = f"scene {label!r}" if label else "the clip"
    if others := [name for name in clip if name not in MODALITIES]:
        raise ModalityError(
            f"{where} has {', '.join(others)}, which a vision-language model does not read; leave it out, or use a model "
            "with an encoder for it"
        )
    if features := [name for name, source in clip.items() if isinstance(source, PrecomputedFeatures)]:
        raise ModalityError(f"{where} has features of {features[0]}; a vision-language model needs its frames")


def _read_image(label: str, clip: Clip, query: Query, default: int, options: FrameOptions, watch: Stopwatch) -> Shot:
    with watch.stage("decode"), _open(clip, "image", options) as source:
        frames = source.read_frames(np.zeros(1, dtype=np.int64))
        footage = Footage(_as_rgb(frames.values, "image"), np.zeros(1), 0.0)
        return Shot(label, "image", footage, (FrameUse(0, 0.0, "image", label, "still"),), tuple(source.notes))


def _read_video(label: str, clip: Clip, query: Query, default: int, options: FrameOptions, watch: Stopwatch) -> Shot:
    with watch.stage("open"):
        source = _open(clip, "video", options)
    with source:
        times, duration = source.timeline()
        with watch.stage("select"):
            indices, why, notes, selection = _choose(clip, query, times, duration, default, options)
        check_cancelled(options.cancel)
        with watch.stage("decode"):
            frames = source.read_frames(indices)
        uses = [FrameUse(int(i), float(t), "video", label, why) for i, t in zip(indices, times[indices], strict=True)]
        footage = Footage(
            _as_rgb(frames.values, "video"), np.asarray(times[indices]), float(duration), options.fps is not None
        )
        return Shot(label, "video", footage, tuple(uses), (*notes, *source.notes), selection)


def _open(clip: Clip, modality: str, options: FrameOptions) -> OpenSource:
    return open_clip(clip, modality, limits=DEFAULT_LIMITS if options.limits is None else options.limits)


def _choose(
    clip: Clip, query: Query, times: np.ndarray, duration: float, default: int, options: FrameOptions
) -> tuple[np.ndarray, str, list[str], FrameSelection | None]:
    """Indices of the frames to use, ascending, why these, notes, and the selector's choice."""
    span = span_of(clip)
    first, stop, _ = frames_inside(times, duration, span)
    available = stop - first
    if options.fps is not None:
        plan = plan_frames({"video": FrameNeed(fps=options.fps)}, times, duration, span=span)
        return plan.indices[plan.streams["video"]], plan.why, plan.notes, None
    count = min(default, available) if options.num_frames is None else options.num_frames
    if count < 1 or count > available:
        raise MediaError(
            f"{count} frames were requested, the video has {available} in the chosen span; request 1 to {available}"
        )
    if options.selector is None:
        plan = plan_frames({"video": FrameNeed(num_frames=count)}, times, duration, span=span)
        return plan.indices[plan.streams["video"]], plan.why, plan.notes, None
    chosen = options.selector.select(
        clip, query.text, num_frames=count, options=query.options, limits=options.limits, cancel=options.cancel
    )
    at = np.asarray(chosen.seconds)
    plan = plan_frames({"video": FrameNeed(num_frames=len(at))}, times, duration, span=span, timestamps=at)
    return plan.indices[plan.streams["video"]], chosen.reason, [*chosen.notes], chosen


def _as_rgb(values: Any, modality: str) -> np.ndarray:
    """Frames (T, H, W, 1 or 3) uint8 → three channels."""
    if values.dtype != np.uint8 or values.shape[3] not in (1, 3):
        raise ShapeError(
            f"a vision-language model reads RGB frames in uint8, got {modality} of {values.dtype} with shape {values.shape}"
        )
    return np.repeat(values, 3, axis=3) if values.shape[3] == 1 else values
