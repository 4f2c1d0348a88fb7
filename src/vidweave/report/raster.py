"""Drawings as images, rendered with Pillow."""

from __future__ import annotations

from functools import cache, singledispatch
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from vidweave.report.drawing import Bitmap, Box, Drawing, Line, Words

__all__ = ["to_image"]

_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


def to_image(drawing: Drawing, *, scale: float = 2.0) -> Image.Image:
    """Render the drawing on white, `scale` pixels per pixel of the sheet.

    The font is Pillow's default, which has Latin letters only; the HTML has others.
    """
    sheet = Image.new("RGB", (round(drawing.width * scale), max(1, round(drawing.height * scale))), "white")
    pen = ImageDraw.Draw(sheet)
    for shape in drawing.shapes:
        _draw(shape, sheet, pen, scale)
    return sheet


@singledispatch
def _draw(shape: Any, sheet: Image.Image, pen: ImageDraw.ImageDraw, scale: float) -> None:
    raise TypeError(f"cannot draw {type(shape).__name__}")


@_draw.register
def _(shape: Box, sheet: Image.Image, pen: ImageDraw.ImageDraw, scale: float) -> None:
    left, top = shape.x * scale, shape.y * scale
    right, bottom = left + shape.width * scale, top + shape.height * scale
    if right > left and bottom > top:
        pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), fill=shape.fill)


@_draw.register
def _(shape: Line, sheet: Image.Image, pen: ImageDraw.ImageDraw, scale: float) -> None:
    points = [(x * scale, y * scale) for x, y in shape.points]
    pen.line(points, fill=shape.colour, width=max(1, round(shape.width * scale)), joint="curve")


@_draw.register
def _(shape: Words, sheet: Image.Image, pen: ImageDraw.ImageDraw, scale: float) -> None:
    at, font = (shape.x * scale, shape.y * scale), _font(round(shape.size * scale))
    weight = scale * 0.3 if shape.bold else 0
    pen.text(at, shape.text, fill=shape.colour, font=font, anchor=_ANCHORS[shape.anchor], stroke_width=weight)


@_draw.register
def _(shape: Bitmap, sheet: Image.Image, pen: ImageDraw.ImageDraw, scale: float) -> None:
    size = (max(1, round(shape.width * scale)), max(1, round(shape.height * scale)))
    small = size[0] > shape.pixels.shape[1]
    method = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
    sheet.paste(Image.fromarray(shape.pixels).resize(size, method), (round(shape.x * scale), round(shape.y * scale)))


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)
