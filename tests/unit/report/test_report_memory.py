"""The panel of a memory: runs stand where their segments stood, and no entry is lost."""

from __future__ import annotations

import numpy as np
import pytest

from vidweave.report.context import PanelContext
from vidweave.report.drawing import Box
from vidweave.report.memory import NOW, RUNS, memory_panel
from vidweave.report.page import explain
from vidweave.types import Answer, Clip, FrameUse, PrecomputedFeatures, Query, Trace


def memory_info(**changes):
    bank = {"tokens": [0, 5, 9], "sizes": [[4, 1, 4], [2, 2, 5], [9]], "similarity": [[0.5, 0.25], [0.9, None], []]}
    return {
        "stream": "video",
        "scene": 0,
        "segments": 10,
        "seconds": [0.0, 20.0],
        "policy": "merge",
        "length": 3,
        "banks": {"visual": bank},
        **changes,
    }


def boxes(drawing, colours):
    return [shape for shape in drawing.shapes if isinstance(shape, Box) and shape.fill in colours]


def test_runs_stand_where_their_segments_stood():
    context = PanelContext(Trace(), (0.0, 20.0))
    drawing = memory_panel([memory_info()], context)
    runs = boxes(drawing, RUNS)
    assert len(runs) == 7
    first = runs[:3]
    assert [box.x for box in first] == pytest.approx([context.x(0), context.x(8), context.x(10)])
    assert first[-1].x + first[-1].width == pytest.approx(context.x(18))
    assert first[1].title == "token 0: segments 4 to 4 are one entry"
    assert {box.fill for box in first[:2]} == set(RUNS)
    assert [box.title for box in boxes(drawing, (NOW,))].count("the newest segment, unmerged") == 3


def test_what_a_forgetful_memory_lost_is_left_blank():
    bank = {"tokens": [0], "sizes": [[1, 1]], "similarity": [[None]]}
    context = PanelContext(Trace(), (0.0, 20.0))
    drawing = memory_panel([memory_info(policy="fifo", banks={"visual": bank})], context)
    assert boxes(drawing, RUNS)[0].x == pytest.approx(context.x(14))


def test_times_are_those_of_the_frames_where_all_are_listed():
    uses = [FrameUse(i, float(i * i)) for i in range(10)]
    context = PanelContext(Trace(uses), (0.0, 81.0))
    runs = boxes(memory_panel([memory_info(seconds=[0.0, 81.0])], context), RUNS)
    assert [box.x for box in runs[:3]] == pytest.approx([context.x(0), context.x(16), context.x(25)])


def test_nothing_reported_draws_nothing():
    assert memory_panel([], PanelContext(Trace(), (0.0, 1.0))) is None
    empty = {"tokens": [], "sizes": [], "similarity": []}
    assert (
        memory_panel([memory_info(segments=1, banks={"visual": empty})], PanelContext(Trace(), (0.0, 1.0))).height > 0
    )


def test_the_page_has_the_panel_under_its_title():
    trace = Trace(panels={"memory": [memory_info()]})
    clip = Clip(PrecomputedFeatures(np.zeros((1, 1, 2), np.float32), np.array([[0.0, 1.0]])))
    page = explain(Query.about(clip, "What came first?"), Answer("red", trace=trace))
    assert "What the memory holds" in [title for title, _ in page.sections]
    assert "token 5: segments 4 to 8 are one entry" in page.html()
