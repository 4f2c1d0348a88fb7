"""Temporal grounding: spans of replies and selectors, mIoU and R@k by hand and by properties."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vidweave
from vidweave.cli.main import run
from vidweave.data.schema import Example
from vidweave.errors import ConfigError
from vidweave.evaluation.grounding import SelectedSpans, format_spans, is_grounded, read_spans
from vidweave.evaluation.predictions import read_predictions
from vidweave.evaluation.span_metrics import best_iou, grounding_scores
from vidweave.media.write import write_video
from vidweave.types import Answer, Clip, Frames, Query

TIMES = st.integers(0, 50_000).map(lambda number: number / 100)
SPANS = st.tuples(TIMES, TIMES).map(lambda pair: (min(pair), max(pair)))


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("12.5 to 20", [(12.5, 20)]),
        ("From 3 s to 7.5 seconds.", [(3, 7.5)]),
        ("[3, 7.5]", [(3, 7.5)]),
        ("between 2 and 4 seconds", [(2, 4)]),
        ("1:05 - 1:30", [(65, 90)]),
        ("from 0:01:02.5 until 1:00:00", [(62.5, 3600)]),
        ("10–15", [(10, 15)]),
        ("10s-15s", [(10, 15)]),
        ("3 to 4; 1 to 2.25", [(3, 4), (1, 2.25)]),
        ("2 to 2", [(2, 2)]),
        ("9 to 4", []),
        ("at 5 seconds", []),
        ("never", []),
        ("", []),
        ("in 2 of 3 scenes", []),
    ],
)
def test_spans_of_replies(text, spans):
    assert read_spans(text) == spans


@given(st.lists(SPANS, max_size=4))
def test_written_spans_are_read_again(spans):
    assert read_spans(format_spans(spans)) == [pytest.approx(span, abs=1e-6) for span in spans]


def test_scores_by_hand():
    targets = [[(0, 10)], [(20, 30)], [(5, 6)], [(0, 4), (6, 10)]]
    ranked = [
        [(0, 5), (0, 9)],  # IoU 0.5, then 0.9
        [(28, 38)],  # 2 of 18
        [],
        [(6, 9), (0, 4)],  # 3 of 4 with the second target, then 1
    ]
    scores = grounding_scores(ranked, targets, ranks=(1, 2))
    assert scores == pytest.approx(
        {
            "mIoU": (0.5 + 2 / 18 + 0 + 0.75) / 4,
            "R@1, IoU>=0.3": 2 / 4,
            "R@1, IoU>=0.5": 2 / 4,
            "R@1, IoU>=0.7": 1 / 4,
            "R@2, IoU>=0.3": 2 / 4,
            "R@2, IoU>=0.5": 2 / 4,
            "R@2, IoU>=0.7": 2 / 4,
        }
    )
    assert set(grounding_scores([], []).values()) == {0.0}


@given(
    st.lists(st.tuples(st.lists(SPANS, max_size=6), st.lists(SPANS, min_size=1, max_size=2)), min_size=1, max_size=6)
)
def test_recalls_grow_with_rank_and_fall_with_the_threshold(pairs):
    ranked, targets = [spans for spans, _ in pairs], [right for _, right in pairs]
    scores = grounding_scores(ranked, targets)
    for t in ("0.3", "0.5", "0.7"):
        assert 0 <= scores[f"R@1, IoU>={t}"] <= scores[f"R@5, IoU>={t}"] <= 1
    for k in (1, 5):
        assert scores[f"R@{k}, IoU>=0.3"] >= scores[f"R@{k}, IoU>=0.5"] >= scores[f"R@{k}, IoU>=0.7"]
    assert 0 <= scores["mIoU"] <= 1
    assert grounding_scores(targets, targets)["mIoU"] == pytest.approx(1)
    # Seconds or minutes make no difference
    minutes = [[[(a / 60, b / 60) for a, b in spans] for spans in side] for side in (ranked, targets)]
    assert grounding_scores(*minutes)["mIoU"] == pytest.approx(scores["mIoU"], abs=1e-6)


@given(st.lists(SPANS, max_size=4), SPANS)
def test_the_best_overlap_is_that_of_one_span(spans, target):
    values = [best_iou([span], [target]) for span in spans]
    assert best_iou(spans, [target]) == max(values, default=0.0)
    assert best_iou(spans, [target], 1) == (values[0] if values else 0.0)


def test_the_first_span_of_a_reply_decides():
    query = Query("?", Query.about("a.mp4", "?").scenes, extra={"target_spans": ((2.0, 4.0),)})
    example = Example(id="1", query=query, answer="2 to 4")
    assert is_grounded(example, "2 to 5")
    assert not is_grounded(example, "3 to 6; 2 to 4")
    assert not is_grounded(example, "no idea")


# ---- command line


class Finds:
    """Replies with a span of its own choice, and selects two."""

    def __init__(self) -> None:
        self.asked, self.clips = [], []

    def answer(self, queries, **decoding):
        self.asked += [query.text for query in queries]
        self.clips += [query.scenes[0].clip for query in queries]
        return [Answer("From 1 to 2 seconds." if "jump" in q.text else "I do not know.") for q in queries]

    def select(self, clip, question, *, num_frames):
        self.clips.append(clip)
        spans = [{"start": 0.0, "end": 0.25, "score": 0.1}, {"start": 1.0, "end": 2.0, "score": 0.8}]
        return {"seconds": [0.5] * num_frames, "spans": spans, "reason": "grounding"}

    def describe(self):
        return {"model": "finds"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grounding")
    write_video(folder / "a.mp4", Frames.from_array(np.zeros((12, 32, 32, 3), np.uint8), fps=4))
    rows = [
        {"video": "a.mp4", "question": "When does she jump?", "start": 1.0, "end": 2.5, "type": "jump"},
        {"video": "a.mp4", "question": "When does she sit?", "start": 0, "end": 0.5, "type": "sit"},
        {"video": "a.mp4", "question": "What?", "answer": "that"},
    ]
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def model(monkeypatch):
    model = Finds()
    monkeypatch.setitem(vars(vidweave), "load", lambda name, **arguments: model)
    return model


def evaluated(capsys, *words):
    code = run(["evaluate", *map(str, words), "--json"])
    reply = capsys.readouterr()
    assert code == 0, reply.err
    return json.loads(reply.out)


def test_spans_of_replies_are_scored(folder, model, tmp_path, capsys):
    words = (folder / "own.jsonl", "--grounding", "reply", "--predictions", tmp_path / "r.jsonl")
    result = evaluated(capsys, *words)
    assert model.asked == [
        f"When in the video does this happen: When does she {verb}? Answer with the start and the end in seconds, such as 3.5 to 12."
        for verb in ("jump", "sit")
    ]
    assert [clip.settings for clip in model.clips] == [{"start_seconds": None, "end_seconds": None, "fps": None}] * 2
    spans, table = result["scores"]
    assert spans["values"]["mIoU"] == pytest.approx(100 * (1 / 1.5) / 2)
    assert spans["values"]["R@1, IoU>=0.5"] == 50
    assert "1 replies hold no span" in spans["note"]
    assert (table["jump"]["percent"], table["sit"]["percent"]) == (100, 0)
    assert result["overall"]["accuracy"] == 0.5
    assert result["notes"] == ["1 of 3 rows have no start and end: they are left out"]
    manifest, predictions = read_predictions(tmp_path / "r.jsonl")
    assert manifest["task"]["grounding"] is True
    assert [p.answer for p in predictions] == ["1 to 2.5", "0 to 0.5"]


def test_spans_of_a_selector_are_scored_best_first(folder, model, tmp_path, capsys):
    result = evaluated(
        capsys, folder / "own.jsonl", "--grounding", "select", "--frames", "3", "--predictions", tmp_path / "r.jsonl"
    )
    assert not model.asked
    values = result["scores"][0]["values"]
    assert values["R@1, IoU>=0.5"] == 50
    assert values["R@5, IoU>=0.5"] == 100  # the second span is half of the second target
    assert {p.output for p in read_predictions(tmp_path / "r.jsonl")[1]} == {"1 to 2; 0 to 0.25"}


@pytest.mark.slow
def test_grounding_with_the_shipped_bridge(folder, capsys):
    result = evaluated(capsys, folder / "own.jsonl", "--grounding", "select", "--model", "tiny-videotgb")
    assert 0 < result["scores"][0]["values"]["mIoU"] <= 100
    assert result["overall"]["num_items"] == 2


def test_what_cannot_be_grounded(folder, model, tmp_path, capsys):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"video": "a.mp4", "question": "What?", "answer": "that"}) + "\n")
    for words, message in (
        (
            [path, f"media={folder}", "--grounding", "reply"],
            "--grounding needs rows with start and end; none of 1 rows",
        ),
        ([folder / "own.jsonl", "--grounding", "spans"], "--grounding must be reply or select, got 'spans'"),
        (["toyworld", "--grounding", "select"], "--grounding applies to data sets"),
        ([folder / "own.jsonl", "--grounding", "select", "--fps", "2"], "fps would do nothing"),
    ):
        assert run(["evaluate", *map(str, words)]) == 2
        assert message in capsys.readouterr().err

    class Mute:
        def answer(self, queries, **decoding): ...

        def describe(self):
            return {}

    with pytest.raises(ConfigError, match="Mute has no selector; use --grounding reply"):
        SelectedSpans(Mute())
    assert SelectedSpans(model).answer([Query.about(Clip("a.mp4"), "?")])[0].text == "1 to 2; 0 to 0.25"
