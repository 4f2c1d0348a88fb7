"""The page of an answer: all general parts, panels by key, and nothing that needs the network."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from vidweave.errors import QueryError
from vidweave.registry import PANELS
from vidweave.report.charts import bars, cells, curves
from vidweave.report.context import PanelContext
from vidweave.report.page import explain
from vidweave.report.timeline import clip_span, thumbnails
from vidweave.types import (
    Answer,
    Clip,
    Frames,
    FrameUse,
    OptionScore,
    PrecomputedFeatures,
    Query,
    Scene,
    Trace,
    Waveform,
)


def frames_of_clip(count: int = 9, fps: float = 3.0) -> Frames:
    values = np.stack([np.full((20, 30, 3), 20 * i, np.uint8) for i in range(count)])
    return Frames.from_array(values, fps=fps)


def answered(**panels) -> Answer:
    uses = [FrameUse(i, i / 3, "video", "", "uniform") for i in (1, 4, 7)] + [FrameUse(4, 4 / 3, "other", "", "asked")]
    trace = Trace(uses, {"video": 16, "text": 9}, {"look": 0.25}, ["two pictures were lost"], panels)
    return Answer("red", (OptionScore("red", -0.1), OptionScore("<b>blue</b>", -3.0)), trace)


def query() -> Query:
    return Query.about(Clip(frames_of_clip()), "Which & why?", ["red", "<b>blue</b>"])


def test_the_page_reports_question_answer_frames_costs_and_notes():
    page = explain(query(), answered()).html()
    for text in ("Which &amp; why?", ">red<", "3 frames, uniform", "1 frames, asked", "16 tokens", "250 ms"):
        assert text in page
    assert "two pictures were lost" in page
    assert "94.8%" in page  # of exp(-0.1) beside exp(-3)


def test_the_page_stands_alone_and_runs_nothing():
    page = explain(query(), answered(words="<script>alert(1)</script>")).html()
    assert "<script" not in page
    assert "<b>blue" not in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_the_account_holds_the_whole_trace():
    account = json.loads(explain(query(), answered(gate=[0.25])).account)
    assert account["trace"]["panels"] == {"gate": [0.25]}


def test_page_and_image_are_written_side_by_side(tmp_path):
    page, frame = explain(query(), answered()).save(tmp_path / "a.html")
    assert (page.name, frame.name) == ("a.html", "a.png")
    with Image.open(frame) as image:
        assert image.width == 2 * 980
    with pytest.raises(QueryError, match=r"cannot be named .a\.png.; end its name in \.html"):
        explain(query(), answered()).save(tmp_path / "a.png")


def test_an_answer_without_a_trace_cannot_be_explained():
    with pytest.raises(QueryError, match="no trace to explain"):
        explain(query(), Answer("red"))


def test_a_registered_panel_draws_its_key_and_others_are_reported_as_text():
    def gates(value, context: PanelContext):
        return bars(context, [(name, share, f"{share:.0%}") for name, share in value.items()], most=1.0)

    PANELS.register("gates of the test", gates, title="Who was heard")
    try:
        page = explain(query(), answered(**{"gates of the test": {"left": 0.75}, "odd": [1, {"a": 2}], "empty": {}}))
    finally:
        PANELS.unregister("gates of the test")
    titles = [title for title, _ in page.sections]
    assert "Who was heard" in titles
    assert "odd" in titles
    assert "empty" not in titles
    assert "75%" in page.html()


def test_thumbnails_are_some_of_the_frames_that_were_used():
    uses = [FrameUse(i, i / 3) for i in range(9)]
    shown = thumbnails(Clip(frames_of_clip()), uses, most=3)
    assert [seconds for seconds, _ in shown] == [0.0, 4 / 3, 8 / 3]
    assert [int(pixels[0, 0, 0]) for _, pixels in shown] == [0, 80, 160]


def test_clips_without_frames_have_a_page_too():
    for clip in (
        Clip(audio=Waveform(np.zeros(800, np.float32), 400)),
        Clip(
            video=PrecomputedFeatures(np.zeros((3, 2, 5), np.float32), np.array([[0, 1], [1, 2], [2, 3]], np.float32))
        ),
    ):
        page = explain(Query.about(clip, "Heard?"), Answer("no", trace=Trace(seconds={"look": 0.1})))
        assert "Heard?" in page.html()
        assert page.image().height > 100


def test_depth_and_flow_are_shown_in_colours_that_can_be_seen():
    for channels in (1, 2):
        values = np.linspace(2, 7, 4 * 6 * 5 * channels, dtype=np.float32).reshape(4, 6, 5, channels)
        clip = Clip(depth=Frames(values, np.arange(4) / 2, np.arange(4)))
        ((_, first), *_) = thumbnails(clip, [FrameUse(0, 0.0), FrameUse(3, 1.5)])
        assert (first.shape, first.dtype) == ((6, 5, 3), np.uint8)


def test_every_scene_has_its_own_timeline():
    scenes = (Scene("A", Clip(frames_of_clip())), Scene("B", Clip(frames_of_clip(5))))
    trace = Trace([FrameUse(1, 1 / 3, scene="A"), FrameUse(2, 2 / 3, scene="B")])
    page = explain(Query("Which?", scenes), Answer("A", trace=trace))
    assert [title for title, _ in page.sections][1:3] == ["Clip A", "Clip B"]


def test_a_span_shows_only_that_part():
    clip = Clip(frames_of_clip(), start_seconds=1.0, end_seconds=2.0)
    assert clip_span(clip, []) == (1.0, 2.0)
    assert clip_span(Clip(frames_of_clip()), []) == (0.0, pytest.approx(3.0))
    context = PanelContext(Trace(), (1.0, 2.0))
    assert context.x(1.5) == pytest.approx(context.left + context.inner / 2)
    assert context.x(99.0) == context.left + context.inner


def test_charts_bear_what_is_no_number_and_what_is_empty():
    context = PanelContext(Trace(), (0.0, 0.0))
    assert bars(context, [("a", float("nan"), "?"), ("b", 0.0, "0")]).height > 20
    assert cells(context, {"a": [0.5, float("nan")]}, columns=["x", "y"]).height > 20
    assert curves(context, {"a": [(0.0, float("inf"))], "b": []}).height > 50
