"""The panel of a mixer: one bar per encoder, one square of tokens per frame."""

import numpy as np

from vidweave.registry import PANELS
from vidweave.report.context import PanelContext
from vidweave.report.drawing import Box, shade
from vidweave.report.encoders import encoders_panel
from vidweave.report.page import explain
from vidweave.types import Answer, Clip, PrecomputedFeatures, Query, Trace


def encoder_weights():
    loud = [[[0.5, 1.0, 0.25, 0.5]] * 3, [[0.1, 0.1, 0.1, 0.9]] * 3]
    return [
        {
            "scene": 0,
            "weights": {"detail": 0.75, "tempo": 0.25},
            "seconds": [[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]],
            "maps": dict(zip(("detail", "tempo"), loud, strict=True)),
        }
    ]


def test_a_square_of_tokens_per_encoder_and_frame():
    drawing = encoders_panel(encoder_weights(), PanelContext(Trace(), (0.0, 3.0)))
    cells = [shape for shape in drawing.shapes if isinstance(shape, Box) and shape.title]
    assert len(cells) == 2 * 3 * 4
    first = cells[:4]
    assert first[1].x > first[0].x
    assert first[2].y > first[0].y
    assert [cell.fill for cell in first] == [shade((v - 0.25) / 0.75) for v in (0.5, 1.0, 0.25, 0.5)]
    assert "detail: 1.00" in cells[1].title
    bars = [shape for shape in drawing.shapes if isinstance(shape, Box) and not shape.title]
    assert bars[0].width == 3 * bars[1].width


def test_nothing_to_show():
    assert encoders_panel([], PanelContext(Trace(), (0.0, 1.0))) is None


def test_it_stands_on_the_page_of_its_answer():
    assert PANELS.get("encoder_weights") is encoders_panel
    trace = Trace(panels={"encoder_weights": encoder_weights()})
    clip = Clip(PrecomputedFeatures(np.zeros((1, 1, 2), np.float32), np.array([[0.0, 3.0]])))
    page = explain(Query.about(clip, "What?"), Answer("yes", trace=trace))
    assert "Which encoder counted, and where" in [title for title, _ in page.sections]
