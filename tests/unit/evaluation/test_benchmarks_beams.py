"""MA-LMM's top-1 and top-5 through `vidweave evaluate --beams 5`, on the golden results of its script."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import vidweave
from vidweave.cli.main import run
from vidweave.evaluation.predictions import read_predictions
from vidweave.media.write import write_video
from vidweave.types import Answer, Frames

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "benchmarks" / "malmm_vqa_top1.json").read_text())["cases"]
PLACES = {"msvd_qa": "videos/v.avi", "msrvtt_qa": "videos/all/v.mp4", "activitynet_qa": "all_test/v_v.mp4"}


class Beams:
    """Answers question "id?" by the beams of a golden case."""

    def __init__(self, beams) -> None:
        self.beams, self.decoding = beams, []

    def answer(self, queries, *, num_return_sequences=1, **decoding):
        self.decoding.append({"num_return_sequences": num_return_sequences, **decoding})
        made = [self.beams[query.text.rstrip("?")][:num_return_sequences] for query in queries]
        return [Answer(first, alternatives=tuple(rest)) for first, *rest in made]

    def describe(self):
        return {"model": "beams"}


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["dataset"])
def test_top_1_and_top_5_are_those_of_the_script(case, tmp_path, monkeypatch, capsys):
    place = tmp_path / "media" / PLACES[case["dataset"]]
    place.parent.mkdir(parents=True)
    write_video(place, Frames.from_array(np.zeros((4, 32, 32, 3), np.uint8), fps=4))
    rows = {
        id: {"question_id": id, "question": f"{id}?", "video": "v", "answer": row["answer"]}
        for id, row in case["annotation"].items()
    }
    (tmp_path / "qa_test.json").write_text(json.dumps(rows))
    model = Beams({row["question_id"]: row["answer"] for row in case["predictions"]})
    monkeypatch.setitem(vars(vidweave), "load", lambda name, **arguments: model)
    words = [
        "evaluate",
        case["dataset"].replace("_", "-"),
        f"data={tmp_path / 'qa_test.json'}",
        f"media={tmp_path / 'media'}",
    ]
    words += ["--predictions", str(tmp_path / "r.jsonl"), "--json"]
    assert run([*words, "--beams", "5"]) == 0
    scores = {score["scorer"]: score for score in json.loads(capsys.readouterr().out)["scores"]}
    official, strict = scores["malmm-official"], scores.get("malmm-strict")
    assert official["top1"]["percent"] == pytest.approx(case["top1"], abs=1e-9)
    assert official["top5"]["percent"] == pytest.approx(case["top5"], abs=1e-9)
    if strict is not None:
        assert strict["top5"]["percent"] >= strict["top1"]["percent"]
    assert model.decoding == [{"num_return_sequences": 5, "num_beams": 5}]
    kept = {p.id: [p.output, *p.alternatives] for p in read_predictions(tmp_path / "r.jsonl")[1]}
    assert kept == model.beams
    assert run([*words, "--beams", "5"]) == 0, "beams are kept in the file"
    again = {score["scorer"]: score for score in json.loads(capsys.readouterr().out)["scores"]}
    assert again["malmm-official"] == official
    assert len(model.decoding) == 1


def test_top_5_needs_beams(tmp_path, monkeypatch, capsys):
    (tmp_path / "v.avi").write_bytes(b"never opened")
    row = {"question_id": "1", "question": "1?", "video": "v", "answer": "dog"}
    (tmp_path / "qa_test.json").write_text(json.dumps({"1": row}))
    monkeypatch.setitem(vars(vidweave), "load", lambda name, **arguments: Beams({"1": ["cat", "dog"]}))
    words = ["evaluate", "msvd-qa", f"data={tmp_path / 'qa_test.json'}", f"media={tmp_path}", "--json"]
    assert run(words) == 0
    official = json.loads(capsys.readouterr().out)["scores"][0]
    assert "top5" not in official
    assert official["top1"]["percent"] == 0
    assert run([*words, "--beams", "1"]) == 2
    capsys.readouterr()


def test_options_are_not_searched(tmp_path, capsys):
    write_video(tmp_path / "a.mp4", Frames.from_array(np.zeros((8, 32, 32, 3), np.uint8), fps=4))
    row = {"video": "a.mp4", "question": "Which?", "options": ["a", "b"], "answer": "a"}
    (tmp_path / "own.jsonl").write_text(json.dumps(row))
    assert run(["evaluate", str(tmp_path / "own.jsonl"), "--beams", "5"]) == 2
    assert "num_beams, num_return_sequences would do nothing" in capsys.readouterr().err
