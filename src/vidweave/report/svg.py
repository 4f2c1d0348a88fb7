"""Drawings as SVG for HTML: text only, with embedded images."""

from __future__ import annotations

from base64 import b64encode
from functools import singledispatch
from html import escape
from io import BytesIO
from typing import Any

from PIL import Image

from vidweave.report.drawing import Bitmap, Box, Drawing, Line, Words

__all__ = ["to_svg"]


def to_svg(drawing: Drawing) -> str:
    """Render one `<svg>` element that scales with the page."""
    body = "".join(_element(shape) for shape in drawing.shapes)
    size = f"0 0 {drawing.width:g} {drawing.height:g}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" width="100%" role="img">{body}</svg>'


@singledispatch
def _element(shape: Any) -> str:
    raise TypeError(f"no SVG for {type(shape).__name__}")


@_element.register
def _(shape: Box) -> str:
    title = f"<title>{escape(shape.title)}</title>" if shape.title else ""
    return (
        f'<rect x="{shape.x:.2f}" y="{shape.y:.2f}" width="{shape.width:.2f}" height="{shape.height:.2f}" '
        f'fill="{shape.fill}">{title}</rect>'
    )


@_element.register
def _(shape: Line) -> str:
    points = " ".join(f"{x:.2f},{y:.2f}" for x, y in shape.points)
    return f'<polyline points="{points}" fill="none" stroke="{shape.colour}" stroke-width="{shape.width:g}"/>'


@_element.register
def _(shape: Words) -> str:
    weight = ' font-weight="bold"' if shape.bold else ""
    return (
        f'<text x="{shape.x:.2f}" y="{shape.y:.2f}" font-size="{shape.size:g}" fill="{shape.colour}" '
        f'text-anchor="{shape.anchor}"{weight}>{escape(shape.text)}</text>'
    )


@_element.register
def _(shape: Bitmap) -> str:
    file = BytesIO()
    Image.fromarray(shape.pixels).save(file, "PNG")
    data = b64encode(file.getvalue()).decode()
    return (
        f'<image x="{shape.x:.2f}" y="{shape.y:.2f}" width="{shape.width:.2f}" height="{shape.height:.2f}" '
        f'preserveAspectRatio="none" href="data:image/png;base64,{data}"/>'
    )
