"""The clip in time: some of the pictures that were looked at, and when each stream looked, and why."""

# Axes: F pictures, H height, W width

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vidweave.media.open import OpenSource, open_clip
from vidweave.registry import MODALITIES
from vidweave.report.context import PanelContext, time_axis
from vidweave.report.drawing import FAINT, PALETTE, Drawing, Line, Picture, Words, fit
from vidweave.types import Clip, Frames, FrameUse, PrecomputedFeatures

__all__ = ["clip_span", "draw_timeline", "thumbnails"]

MOST_THUMBNAILS = 10
GAP, ROW = 6.0, 18.0


def clip_span(clip: Clip, uses: Sequence[FrameUse]) -> tuple[float, float]:
    """Seconds from which to which `clip` is shown: its span, as far as it has pictures or sound."""
    end = max((use.pts_seconds for use in uses), default=0.0)
    modality = _picture_modality(clip)
    if modality is not None:
        with open_clip(clip, modality) as source:
            end = max(end, source.timeline()[1])
    start = clip.start_seconds or 0.0
    return start, max(start, end if clip.end_seconds is None else min(end, clip.end_seconds))


def thumbnails(clip: Clip, uses: Sequence[FrameUse], most: int = MOST_THUMBNAILS) -> list[tuple[float, np.ndarray]]:
    """(seconds, picture (H, W, 3) uint8) of at most `most` of the pictures used, evenly chosen; none without pictures."""
    modality = _picture_modality(clip)
    if modality is None or not uses:
        return []
    times = {use.index: use.pts_seconds for use in uses}
    with open_clip(clip, modality) as source:
        known = [index for index in sorted(times) if index < _count(source)]
        if not known:
            return []
        chosen = sorted({known[round(i)] for i in np.linspace(0, len(known) - 1, min(most, len(known)))})
        frames = source.read_frames(chosen)
    return [(times[index], picture) for index, picture in zip(chosen, _visible(frames), strict=True)]


def draw_timeline(context: PanelContext, clip: Clip, uses: Sequence[FrameUse]) -> Drawing:
    """Thumbnails, tied to their times on the axis, and below it a row of marks per stream and reason."""
    drawing, pictures = context.sheet(), thumbnails(clip, uses)
    y = _draw_pictures(context, drawing, pictures) if pictures else 4.0
    y = time_axis(context, drawing, y)
    rows: dict[tuple[str, str], list[float]] = {}
    for use in uses:
        rows.setdefault((use.stream, use.why), []).append(use.pts_seconds)
    for number, ((stream, why), times) in enumerate(rows.items()):
        colour = PALETTE[number % len(PALETTE)]
        context.label(drawing, y + 12, fit(stream, context.left - 16, 11))
        drawing.add(*(Line(((context.x(t), y + 2), (context.x(t), y + 12)), colour) for t in sorted(set(times))))
        drawing.add(Words(context.left, y + 24, f"{len(times)} pictures, {why or 'no reason given'}", 10, FAINT))
        y += ROW + 12
    return drawing


def _draw_pictures(context: PanelContext, drawing: Drawing, pictures: list[tuple[float, np.ndarray]]) -> float:
    """The thumbnails side by side; the y of the axis below them."""
    width = min(150.0, (context.inner - GAP * (len(pictures) - 1)) / len(pictures))
    height = max(width * p.shape[0] / p.shape[1] for _, p in pictures)
    axis = height + 26
    step = (context.inner - width) / max(1, len(pictures) - 1)
    for number, (seconds, pixels) in enumerate(pictures):
        x, own = context.left + number * step, width * pixels.shape[0] / pixels.shape[1]
        drawing.add(Picture(x, height - own, width, own, pixels))
        drawing.add(Line(((x + width / 2, height), (context.x(seconds), axis)), "#bbbbbb", 0.7))
    return axis


def _picture_modality(clip: Clip) -> str | None:
    """The first modality of `clip` that can be shown."""
    shown = (m for m in clip if MODALITIES.entry(m).facts.carrier == "frames")
    return next((m for m in shown if not _is_features(clip, m)), None)


def _is_features(clip: Clip, modality: str) -> bool:
    if isinstance(clip[modality], PrecomputedFeatures):
        return True
    with open_clip(clip, modality) as opened:
        return opened.carrier == "features"


def _count(source: OpenSource) -> int:
    return len(source.timeline()[0])


def _visible(frames: Frames) -> np.ndarray:
    """(F, H, W, 3) uint8 of whatever the pictures are: RGB stays, other numbers are spread from black to white."""
    values = np.asarray(frames.values)
    if values.dtype != np.uint8:
        finite = np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)
        low, high = float(finite.min()), float(finite.max())
        values = ((finite - low) / max(high - low, 1e-9) * 255).astype(np.uint8)
    if values.shape[-1] == 2:
        values = np.concatenate([values, np.full_like(values[..., :1], 128)], -1)
    return np.ascontiguousarray(values[..., :3] if values.shape[-1] >= 3 else values[..., :1].repeat(3, -1))
