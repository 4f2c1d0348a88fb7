"""The panels of streams say in words what was missing and what was joined."""

import pytest

from vidweave.registry import PANELS
from vidweave.report.context import PanelContext
from vidweave.report.drawing import Words
from vidweave.report.streams import absent_panel, fused_panel
from vidweave.types import Trace


def words(drawing):
    return " ".join(shape.text for shape in drawing.shapes if isinstance(shape, Words))


CONTEXT = PanelContext(Trace(), (0.0, 1.0))


@pytest.mark.parametrize(
    ("absent", "info"),
    [
        ({"flow": [[0, 0]], "touch": [[0, 0]]}, "not given: flow, touch"),
        ({"flow": [[0, 1]], "audio": [[0, 0], [0, 1]]}, "not given: flow (of scene 2), audio (of scene 1, 2)"),
    ],
)
def test_what_was_not_there(absent, info):
    assert words(absent_panel(absent, CONTEXT)) == info


def test_what_was_joined():
    assert words(fused_panel({"video": ["general", "detail"], "fused": ["a"]}, CONTEXT)) == (
        "video: general + detail; fused: a"
    )


def test_nothing_to_report():
    assert absent_panel({}, CONTEXT) is None
    assert fused_panel({}, CONTEXT) is None
    assert PANELS.get("absent") is absent_panel
    assert PANELS.get("fused") is fused_panel
