"""Reports: breakdowns that add up, rules beside them, published numbers, a manifest."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tests.unit.evaluation.evaluation_predictions import made_prediction, made_predictions
from vidweave.errors import ConfigError
from vidweave.evaluation import references
from vidweave.evaluation.metrics import accuracies, group
from vidweave.evaluation.references import published
from vidweave.evaluation.report import Report

TASK, MODEL = {"name": "scenes"}, {"model": "tiny", "weights": "ab12"}


def report(predictions, **more) -> Report:
    return Report.of(predictions, task=TASK, model=MODEL, **more)


def test_every_breakdown_counts_every_item_once() -> None:
    predictions = made_predictions(60, 0.6)
    result = report(predictions, crossings=[("selection", "scenes")])
    assert list(result.facets) == ["scenes", "selection", "selection x scenes"]
    for groups in result.facets.values():
        assert sum(a.num_items for a in groups) == 60
        assert sum(a.num_correct for a in groups) == result.overall.num_correct
    assert [a.question_type for a in result.facets["scenes"]] == ["mc_2", "mc_3", "mc_4"]
    assert "similarity, mc_3" in {a.question_type for a in result.facets["selection x scenes"]}
    macro = result.to_dict()["macro"]["scenes"]
    assert macro == pytest.approx(sum(a.accuracy for a in result.facets["scenes"]) / 3)


def test_a_prediction_without_a_facet_is_in_none_of_its_groups() -> None:
    predictions = [*made_predictions(6, 1.0), made_prediction(6, True, facets={"scenes": "mc_2"})]
    assert sum(map(len, group(predictions, ["selection"]).values())) == 6
    assert sum(a.num_items for a in accuracies(predictions, ["scenes"])) == 7


def test_chosen_and_right_options_are_counted_and_what_chooses_none() -> None:
    outputs = ["Scene B", "the dog", "Scene D", "no idea"]
    predictions = [made_prediction(2 * 3 + 1, False, id=f"i{i}", output=output) for i, output in enumerate(outputs)]
    options = predictions[0].options
    assert (options, predictions[0].answer) == (("Scene A", "Scene B", "Scene C"), "Scene B")
    assert report(predictions).choices == {
        "B": {"chosen": 1, "right": 4},
        "none": {"chosen": 3, "right": 0},
    }


def test_a_rule_is_measured_on_the_same_items_and_the_gain_is_paired() -> None:
    predictions = made_predictions(90, 0.8)
    uniform = {r.id: 1 / len(r.options) for r in predictions}
    copycat = {r.id: float(r.correct) for r in predictions}
    (even, same) = report(predictions, baselines={"uniform": uniform, "copycat": copycat}).baselines
    assert even.overall == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 3)
    assert even.facets["scenes"] == pytest.approx({"mc_2": 1 / 2, "mc_3": 1 / 3, "mc_4": 1 / 4})
    assert even.low > 0.2
    assert even.low < even.gain < even.high
    gains = np.array([float(r.correct) - uniform[r.id] for r in predictions])
    spread = 1.959963984540054 * gains.std() / math.sqrt(90)
    assert (even.low, even.high) == pytest.approx((gains.mean() - spread, gains.mean() + spread), abs=0.007)
    assert (same.gain, same.low, same.high) == (0, 0, 0)
    with pytest.raises(ConfigError, match="baseline 'half' has no score for 45 items, the first is 'item-45'"):
        report(predictions, baselines={"half": {r.id: 1.0 for r in predictions[:45]}})


def test_the_manifest_says_how_the_result_was_made() -> None:
    manifest = report(made_predictions(4, 1.0), decoding={"num_frames": 2}).manifest
    assert manifest["model"] == MODEL
    assert manifest["decoding"] == {"num_frames": 2}
    assert manifest["prompt"] == "Which?"
    assert manifest["pictures_per_item"] == {"least": 1, "median": 1, "most": 1}
    assert {"vidweave", "python", "torch", "numpy"} <= manifest["versions"].keys()
    json.dumps(report(made_predictions(4, 1.0)).to_dict(), allow_nan=False)


def test_published_numbers_are_found_in_the_package() -> None:
    result = published("breakfast")
    assert [(row.name, row.overall) for row in result] == [("malmm", 93.0)]
    assert {row.name: row.overall for row in published("lvu")}["malmm year"] == 51.9
    assert published("nothing of the kind") == []
    judged = {row.name: (row.overall, row.source) for row in published("msvd-qa")}
    assert judged["videotgb videotgb-vicuna-7b"] == (71.3, "videotgb, arXiv 2402.16050")  # accuracy, not the score
    assert judged["merv merv-frozen"] == (70.97, "merv, arXiv 2501.01426")
    assert {row.name for row in published("nextqa")} >= {"benchmarks human", "crema V", "merv merv-frozen"}


def test_rows_of_a_leaderboard_keep_their_breakdowns(monkeypatch) -> None:
    rows = {"OneLLM": {"overall": 0.32, "note": "zero-shot", "scenes": {"mc_2": 0.52}}, "Gemini": {"overall": 0.22}}
    entry = {"scenes": {"metric": "accuracy", "rows": rows}}
    monkeypatch.setattr(references, "_files", lambda: iter([("paper", entry)]))
    first, second = report(made_predictions(6, 0.5)).published
    assert (first.name, first.source, first.overall) == ("OneLLM", "paper: zero-shot", 0.32)
    assert first.facets == {"scenes": {"mc_2": 0.52}}
    assert (second.source, second.facets) == ("paper", {})
