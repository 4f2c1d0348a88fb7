"""The clip over time: some of the sampled frames, and the timestamps and reason of each stream's frames."""

# Axes: F frames, H height, W width

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vidweave.media.open import OpenSource, open_clip
from vidweave.registry import MODALITIES
from vidweave.report.context import PanelContext, time_axis
from vidweave.report.drawing import FAINT, PALETTE, Bitmap, Drawing, Line, Words, fit
from vidweave.types import Clip, Frames, FrameUse, PrecomputedFeatures

__all__ = ["clip_span", "draw_timeline", "thumbnails"]

MOST_THUMBNAILS = 10
GAP, ROW = 6.0, 18.0


def clip_span(clip: Clip, uses: Sequence[FrameUse]) -> tuple[float, float]:
    """Start and end of the shown part of `clip`, in seconds: its span, limited to its video or audio."""
    end = max((use.pts_seconds for use in uses), default=0.0)
    modality = _visible_modality(clip)
    if modality is not None:
        with open_clip(clip, modality) as source:
            end = max(end, source.timeline()[1])
    start = clip.start_seconds or 0.0
    return start, max(start, end if clip.end_seconds is None else min(end, clip.end_seconds))


def thumbnails(clip: Clip, uses: Sequence[FrameUse], most: int = MOST_THUMBNAILS) -> list[tuple[float, np.ndarray]]:
    """Load (seconds, frame (H, W, 3) uint8) of at most `most` of the frames used, evenly selected; empty without frames."""
    modality = _visible_modality(clip)
    if modality is None or not uses:
        return []
    times = {use.index: use.pts_seconds for use in uses}
    with open_clip(clip, modality) as source:
        available = [index for index in sorted(times) if index < _count(source)]
        if not available:
            return []
        chosen = sorted({available[round(i)] for i in np.linspace(0, len(available) - 1, min(most, len(available)))})
        frames = source.read_frames(chosen)
    return [(times[index], frame) for index, frame in zip(chosen, _visible(frames), strict=True)]


def draw_timeline(context: PanelContext, clip: Clip, uses: Sequence[FrameUse]) -> Drawing:
    """Draw thumbnails, connected to their times on the axis, and below it a row of marks per stream and reason."""
    drawing, images = context.sheet(), thumbnails(clip, uses)
    y = _draw_thumbnails(context, drawing, images) if images else 4.0
    y = time_axis(context, drawing, y)
    rows: dict[tuple[str, str], list[float]] = {}
    for use in uses:
        rows.setdefault((use.stream, use.why), []).append(use.pts_seconds)
    for number, ((stream, why), times) in enumerate(rows.items()):
        colour = PALETTE[number % len(PALETTE)]
        context.label(drawing, y + 12, fit(stream, context.left - 16, 11))
        drawing.add(*(Line(((context.x(t), y + 2), (context.x(t), y + 12)), colour) for t in sorted(set(times))))
        drawing.add(Words(context.left, y + 24, f"{len(times)} frames, {why or 'no reason given'}", 10, FAINT))
        y += ROW + 12
    return drawing


def _draw_thumbnails(context: PanelContext, drawing: Drawing, images: list[tuple[float, np.ndarray]]) -> float:
    """Draw the thumbnails side by side; return the y of the axis below them."""
    width = min(150.0, (context.inner - GAP * (len(images) - 1)) / len(images))
    height = max(width * p.shape[0] / p.shape[1] for _, p in images)
    axis = height + 26
    step = (context.inner - width) / max(1, len(images) - 1)
    for number, (seconds, pixels) in enumerate(images):
        x, own = context.left + number * step, width * pixels.shape[0] / pixels.shape[1]
        drawing.add(Bitmap(x, height - own, width, own, pixels))
        drawing.add(Line(((x + width / 2, height), (context.x(seconds), axis)), "#bbbbbb", 0.7))
    return axis


def _visible_modality(clip: Clip) -> str | None:
    """First modality of `clip` that can be shown."""
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
    """Convert frames to (F, H, W, 3) uint8: RGB is unchanged, other values are scaled from black to white."""
    values = np.asarray(frames.values)
    if values.dtype != np.uint8:
        finite = np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)
        low, high = float(finite.min()), float(finite.max())
        values = ((finite - low) / max(high - low, 1e-9) * 255).astype(np.uint8)
    if values.shape[-1] == 2:
        values = np.concatenate([values, np.full_like(values[..., :1], 128)], -1)
    return np.ascontiguousarray(values[..., :3] if values.shape[-1] >= 3 else values[..., :1].repeat(3, -1))
