"""Overview image of one scene in all modalities."""

from __future__ import annotations

import colorsys
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vidweave.errors import ConfigError
from vidweave.media.write import write_image
from vidweave.toyworld.captions import caption
from vidweave.toyworld.questions import questions
from vidweave.toyworld.render import (
    render_audio,
    render_depth,
    render_flow,
    render_normals,
    render_points,
    render_rgb,
    render_thermal,
    render_touch,
)
from vidweave.toyworld.scene import Length, ToyScene, sample_scene

__all__ = ["draw_scene", "scene_sheet"]

_PAPER, _INK, _FAINT, _BLUE = (250, 249, 246), (35, 38, 45), (130, 134, 142), (40, 96, 160)
_TILE, _GAP, _MARGIN, _LABEL = 112, 6, 28, 92  # pixels
_ROWS = 7  # of frames


def draw_scene(out: str | os.PathLike[str], seed: int, *, length: Length = "short", columns: int = 8) -> Path:
    """Draw the scene of a seed into the image file `out`; see `scene_sheet`.

    Raises:
        MediaError: `out` has no image suffix.
        ConfigError: an unknown length, or fewer than 2 columns.
    """
    sheet = scene_sheet(sample_scene(seed, length=length), columns=columns)
    return write_image(out, np.asarray(sheet))


def scene_sheet(scene: ToyScene, *, columns: int = 8) -> Image.Image:
    """Draw a row of frames for each frame modality, the rotating point cloud, the audio waveform, the caption and the
    questions.

    Args:
        scene: Scene to draw.
        columns: Number of frames: evenly spread over a short clip; the centers of the visits of a long one, then others.

    Raises:
        ConfigError: fewer than 2 columns.
    """
    if columns < 2:
        raise ConfigError(f"a sheet needs at least 2 columns, got {columns}")
    frames = _frames_to_show(scene, columns)
    width = 2 * _MARGIN + _LABEL + len(frames) * (_TILE + _GAP) - _GAP
    asked = [(q.text, q.answer) for q in questions(scene)]
    half = (len(asked) + 1) // 2
    words = [(line, "") for line in _wrapped(caption(scene), width - 2 * _MARGIN - _LABEL)]
    height = 2 * _MARGIN + 64 + _ROWS * (_TILE + _GAP) + 24 + 96 + 22 * len(words) + 34 + 22 * half
    sheet = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, _MARGIN - 6), f"A {scene.length} clip of the toy world", _INK, _font(22))
    facts = f"seed {scene.seed}   {scene.num_frames} frames, {scene.duration_seconds:g} s at {scene.fps:g} frames/s"
    pen.text((_MARGIN, _MARGIN + 26), facts, _FAINT, _font(13))
    y = _draw_frames(sheet, pen, scene, frames, _MARGIN + 64)
    y = _draw_audio(pen, scene, frames, y + 18, width)
    y = _draw_lines(pen, "caption", words, _MARGIN + _LABEL, y + 16)
    _draw_lines(pen, "questions", asked[:half], _MARGIN + _LABEL, y + 12)
    _draw_lines(pen, "", asked[half:], (width + _LABEL) // 2 + 8, y + 12)
    return sheet


def _frames_to_show(scene: ToyScene, columns: int) -> np.ndarray:
    spread = np.linspace(0, scene.num_frames - 1, columns).round().astype(int)
    if scene.length == "short":
        return spread
    middles = [(o.start_frame + o.end_frame) // 2 for o in scene.objects][:columns]
    # quiet frames fill the rest, in temporal order
    others = [int(f) for f in spread if f not in middles][: columns - len(middles)]
    return np.array(sorted([*middles, *others]))


def _draw_frames(sheet: Image.Image, pen: ImageDraw.ImageDraw, scene: ToyScene, frames: np.ndarray, y: int) -> int:
    rows = {
        "video": render_rgb(scene, frames=frames),
        "depth": _heat_colours(render_depth(scene, frames=frames), 10.0, 2.0),
        "normals": ((render_normals(scene, frames=frames) + 1) * 127.5).astype(np.uint8),
        "flow": _flow_colours(render_flow(scene, frames=frames)),
        "thermal": _heat_colours(render_thermal(scene, frames=frames), 0.0, 60.0),
        "touch": _heat_colours(render_touch(scene, frames=frames), 0.0, 1.1),
        "points": _turning(render_points(scene).coordinates, len(frames)),
    }
    assert len(rows) == _ROWS
    for name, images in rows.items():
        pen.text((_MARGIN, y + _TILE // 2 - 9), name, _INK, _font(15))
        for i, image in enumerate(images):
            tile = Image.fromarray(image).resize((_TILE, _TILE), Image.Resampling.NEAREST)
            sheet.paste(tile, (_MARGIN + _LABEL + i * (_TILE + _GAP), y))
        y += _TILE + _GAP
    for i, frame in enumerate(frames):
        at = (_MARGIN + _LABEL + i * (_TILE + _GAP) + _TILE // 2, y + 8)
        pen.text(at, f"{frame / scene.fps:.2f} s", _FAINT, _font(12), anchor="mm")
    return y


def _draw_audio(pen: ImageDraw.ImageDraw, scene: ToyScene, frames: np.ndarray, y: int, width: int) -> int:
    """Draw the waveform's range per pixel column over the whole clip, with ticks at the times of the frames."""
    pen.text((_MARGIN, y + 32), "audio", _INK, _font(15))
    left, right, middle = _MARGIN + _LABEL, width - _MARGIN, y + 40
    samples = render_audio(scene).samples
    for x, part in enumerate(np.array_split(samples, right - left)):
        if len(part):
            low, high = middle - 70 * float(part.max()), middle - 70 * float(part.min())
            pen.line([(left + x, low), (left + x, max(high, low + 1))], fill=_BLUE)
    for frame in frames:
        x = left + (frame + 0.5) / scene.num_frames * (right - left)
        pen.line([(x, y + 76), (x, y + 82)], fill=_FAINT)
    return y + 84


def _draw_lines(pen: ImageDraw.ImageDraw, label: str, lines: list[tuple[str, str]], x: int, y: int) -> int:
    """Draw lines of text, each followed by its second part in another color."""
    pen.text((_MARGIN, y), label, _INK, _font(15))
    for text, answer in lines:
        pen.text((x, y), text, _INK, _font(14))
        pen.text((x + _font(14).getlength(text) + 10, y), answer, _BLUE, _font(14))
        y += 22
    return y


def _wrapped(text: str, width: int) -> list[str]:
    """Wrap `text` into lines of at most `width` pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _font(14).getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _heat_colours(values: np.ndarray, dark: float, bright: float) -> np.ndarray:
    """Map (T, H, W) → (T, H, W, 3) uint8, from dark blue at `dark` to bright yellow at `bright`."""
    stops = np.array([(24, 22, 58), (94, 36, 110), (188, 68, 90), (244, 146, 64), (252, 230, 150)], np.float32)
    return _between(stops, np.clip((values - dark) / (bright - dark), 0, 1))


def _turning(points: np.ndarray, views: int) -> np.ndarray:
    """Project (P, 3) meters → (views, _TILE, _TILE, 3) uint8, rotating from the front to the side; near is bright."""
    sheet = np.full((views, _TILE, _TILE), -1.0)
    for view, turn in enumerate(np.linspace(0, np.pi / 2, views)):
        across = points[:, 0] * np.cos(turn) + points[:, 2] * np.sin(turn)
        nearness = points[:, 2] * np.cos(turn) - points[:, 0] * np.sin(turn)
        columns, rows = (np.clip((v / 2.6 + 0.5) * _TILE, 0, _TILE - 1).astype(int) for v in (across, points[:, 1]))
        np.maximum.at(sheet[view], (rows, columns), nearness)
    return _heat_colours(sheet, -1.0, 0.6)


def _flow_colours(flow: np.ndarray) -> np.ndarray:
    """Map (T, H, W, 2) px/frame → (T, H, W, 3) uint8: hue shows the direction, saturation the speed."""
    speed = np.hypot(flow[..., 0], flow[..., 1])
    turn = np.arctan2(flow[..., 1], flow[..., 0]) / (2 * np.pi) % 1.0
    wheel = np.array([colorsys.hsv_to_rgb(i / 12, 0.85, 0.92) for i in range(13)], np.float32) * 255
    strength = np.clip(speed / 2.0, 0, 1)[..., None] ** 0.7
    return (255 + (_between(wheel, turn) - 255.0) * strength).astype(np.uint8)


def _between(stops: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Interpolate colors at `position` in 0..1 along evenly spaced `stops` (N, 3); uint8."""
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(position, at, stops[:, k]) for k in range(3)], axis=-1).astype(np.uint8)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
