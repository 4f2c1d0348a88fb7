"""The panel of a selection: motion, probability, spans and timestamps stand at their times."""

import pytest

from vidweave.report.context import PanelContext
from vidweave.report.drawing import Box, Line, Words
from vidweave.report.raster import to_image
from vidweave.report.selection import selection_panel
from vidweave.types import Trace

CONTEXT = PanelContext(Trace(), (0.0, 10.0))
TOLD = {
    "seconds": [4.0, 4.5],
    "spans": [{"start": 4.0, "end": 5.0, "score": 0.8}],
    "steps": [1.0, 4.5, 8.0],
    "energy": [2.0, 4.0, 0.0],
    "probability": [0.1, 0.9, 0.0],
}


def words(drawing):
    return " ".join(shape.text for shape in drawing.shapes if isinstance(shape, Words))


def test_everything_stands_at_its_time():
    drawing = selection_panel({"reason": "grounding", "scenes": {"": TOLD}}, CONTEXT)
    reply = words(drawing)
    for text in ("motion", "in the span", "4.00 to 5.00 s, 80%", "frames", "chosen by grounding"):
        assert text in reply
    boxes = [s for s in drawing.shapes if isinstance(s, Box) and s.title]
    assert boxes[0].x == pytest.approx(CONTEXT.x(4.0))
    assert boxes[0].x + boxes[0].width == pytest.approx(CONTEXT.x(5.0))
    marks = [shape.points[0][0] for shape in drawing.shapes if isinstance(shape, Line) and shape.width == 2.0]
    assert marks == pytest.approx([CONTEXT.x(4.0), CONTEXT.x(4.5)])
    assert to_image(drawing).size[0] >= 960


def test_scenes_stand_below_one_another_and_curves_may_be_missing():
    bare = {"seconds": [1.0], "spans": [{"start": 1.0, "end": 1.0, "score": None}]}
    one = selection_panel({"reason": "motion_peaks", "scenes": {"A": bare}}, CONTEXT)
    two = selection_panel({"reason": "grounding", "scenes": {"A": TOLD, "B": bare}}, CONTEXT)
    assert "scene" not in words(one)
    assert "scene A" in words(two)
    assert "scene B" in words(two)
    assert two.height > one.height


def test_nothing_is_drawn_of_nothing():
    assert selection_panel({"reason": "grounding", "scenes": {}}, CONTEXT) is None
    assert selection_panel("something else", CONTEXT) is None
