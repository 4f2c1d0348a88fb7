"""Drawings: what is put on a sheet is there, as SVG and as a frame, at the same place."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from vidweave.report.drawing import Bitmap, Box, Drawing, Line, Words, fit, shade, wrap
from vidweave.report.raster import to_image
from vidweave.report.svg import to_svg

SVG = "{http://www.w3.org/2000/svg}"


def sheet() -> Drawing:
    drawing = Drawing(70)
    drawing.add(Box(10, 5, 20, 8, "#ff0000", "a <title>"), Line(((40, 2), (40, 30)), "#0000ff", 2))
    drawing.add(Words(50, 20, "a & b <c>", 9), Bitmap(2, 20, 6, 4, np.full((2, 3, 3), 90, np.uint8)))
    return drawing


def test_svg_is_one_well_formed_element_with_every_shape():
    root = ElementTree.fromstring(to_svg(sheet()))
    assert [child.tag.removeprefix(SVG) for child in root] == ["rect", "polyline", "text", "image"]
    assert root[0][0].text == "a <title>"
    assert root[2].text == "a & b <c>"
    assert root[3].attrib["href"].startswith("data:image/png;base64,")
    assert root.attrib["viewBox"] == "0 0 70 30"


def test_the_image_has_the_shapes_where_the_drawing_has_them():
    image = np.asarray(to_image(sheet(), scale=3))
    assert image.shape == (90, 210, 3)
    assert (image[9 * 3, 20 * 3] == (255, 0, 0)).all()
    assert (image[15 * 3, 40 * 3] == (0, 0, 255)).all()
    assert (image[22 * 3, 5 * 3] == 90).all()
    assert (image[9 * 3, 33 * 3] == 255).all()
    assert (image[12 * 3 : 21 * 3, 50 * 3 :] < 200).any()


def test_placing_moves_everything_down_and_grows_the_sheet():
    whole = Drawing(70, 11)
    whole.place(sheet(), 50)
    box, line, words, _ = whole.shapes
    assert (box.y, line.points, words.y) == (55, ((40, 52), (40, 80)), 70)
    assert whole.height == 80


def test_fit_and_wrap_keep_to_the_width():
    assert fit("short", 200) == "short"
    assert fit("a very long name indeed", 60, 12).endswith("…")
    assert len(fit("x" * 500, 60, 12)) <= 60 / (0.54 * 12)
    lines = wrap("one two three " + "y" * 40 + "\nlast", 80, 10)
    assert max(map(len, lines)) <= 80 / 5.4
    assert "".join(lines).replace(" ", "") == "onetwothree" + "y" * 40 + "last"


@pytest.mark.parametrize(("value", "colour"), [(-3, "#000000"), (0, "#000000"), (1, "#ff8040"), (7, "#ff8040")])
def test_shades_run_from_one_colour_to_the_other(value, colour):
    assert shade(value, ("#000000", "#ff8040")) == colour


def test_a_shade_of_no_number_is_grey():
    assert shade(float("nan")) == "#cccccc"
