"""Two runs on the same items."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest

from tests.unit.evaluation.evaluation_predictions import made_prediction, made_predictions
from vidweave.errors import PredictionError
from vidweave.evaluation.compare import compare, compare_files, mcnemar
from vidweave.evaluation.predictions import PredictionFile


def test_items_are_paired_by_id_and_the_rest_is_counted() -> None:
    ours, theirs = made_predictions(50, 0.9, seed=1), made_predictions(53, 0.5, seed=2, first=8)
    result = compare(ours, list(reversed(theirs)))
    assert (result.overall.num_items, result.missing_in_first, result.missing_in_second) == (42, 11, 8)
    right = {r.id: r.correct for r in theirs}
    pairs = [(r.correct, right[r.id]) for r in ours if r.id in right]
    assert result.overall.only_first == sum(a and not b for a, b in pairs)
    assert result.overall.difference == pytest.approx(sum(a - b for a, b in pairs) / 42)
    assert result.overall.first - result.overall.second == pytest.approx(result.overall.difference)
    assert result.overall.is_sure


def test_the_other_way_round_is_the_opposite() -> None:
    ours, theirs = made_predictions(70, 0.7, seed=1), made_predictions(70, 0.6, seed=2)
    one, other = compare(ours, theirs), compare(theirs, ours)
    assert one.overall.difference == -other.overall.difference
    assert one.overall.p_value == other.overall.p_value
    assert (one.overall.low, one.overall.high) == pytest.approx((-other.overall.high, -other.overall.low), abs=0.03)


def test_the_interval_is_the_one_that_leaves_two_and_a_half_percent_on_each_side() -> None:
    ours = [made_prediction(n, n >= 60) for n in range(400)]  # 20 points below: 80 lost, none won
    theirs = [made_prediction(n, True if n < 140 else n % 7 > 0) for n in range(400)]
    right = {prediction.id: prediction.correct for prediction in theirs}
    differences = np.array([float(prediction.correct) - right[prediction.id] for prediction in ours])
    spread = 1.959963984540054 * differences.std() / 20  # a mean of 400 is all but normal
    result = compare(ours, theirs).overall
    assert result.low == pytest.approx(differences.mean() - spread, abs=0.005)
    assert result.high == pytest.approx(differences.mean() + spread, abs=0.005)
    assert (result.difference < 0, result.is_sure) == (True, True)
    assert compare(theirs, ours).overall.is_sure


def test_a_run_compared_with_itself_differs_in_nothing() -> None:
    predictions = made_predictions(40, 0.5)
    result = compare(predictions, predictions)
    assert (result.overall.low, result.overall.high, result.overall.p_value) == (0, 0, 1)
    assert not result.overall.is_sure
    for groups in ({"question_type": result.question_types} | result.facets).values():
        assert sum(d.num_items for d in groups) == 40


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (3, 9), (5, 5), (0, 7), (21, 13)])
def test_mcnemars_p_value_is_the_binomial_one(only_first, only_second) -> None:
    total, fewer = only_first + only_second, min(only_first, only_second)
    expected = min(1.0, 2 * sum(math.comb(total, k) for k in range(fewer + 1)) / 2**total)
    assert mcnemar(only_first, only_second) == pytest.approx(expected, rel=1e-12)
    assert 0 < mcnemar(40_000, 41_000) < 0.01  # no overflow


def test_other_items_are_refused() -> None:
    predictions = made_predictions(5, 1.0)
    with pytest.raises(PredictionError, match="no item in common; compare runs of one task"):
        compare(predictions, made_predictions(5, 1.0, first=9))
    with pytest.raises(PredictionError, match="item 'item-2' is not the same in both: 'Which one is 2"):
        compare(predictions, [made_prediction(2, True, question="Another?")])


def test_files_say_what_was_compared(tmp_path) -> None:
    for name, share in (("a", 0.8), ("b", 0.3)):
        with PredictionFile(tmp_path / name, {"model": {"model": name}}) as file:
            file.add(made_predictions(30, share, seed=3))
    result = compare_files(tmp_path / "a", tmp_path / "b")
    assert (result.first["model"]["model"], result.second["model"]["model"]) == ("a", "b")
    data = json.loads(json.dumps(result.to_dict()))
    assert data["facets"]["scenes"][0]["name"] == "mc_2"
    with pytest.raises(PredictionError, match="cannot use the prediction file"):
        compare_files(tmp_path / "a", tmp_path / "none")


def test_p_values_are_adjusted_for_all_reported_tests() -> None:
    ours, theirs = made_predictions(60, 0.9, seed=1), made_predictions(60, 0.5, seed=2)
    result = compare(ours, theirs)
    reported = [row for rows in result.groups.values() for row in rows]
    assert list(result.groups) == ["", "question type", "scenes", "selection"]
    assert result.num_tests == len(reported) == 1 + 2 + 3 + 2
    ordered = sorted(reported, key=lambda row: row.p_value)
    assert ordered[0].p_holm == min(1.0, len(reported) * ordered[0].p_value)
    for before, after in pairwise(ordered):
        assert before.p_holm <= after.p_holm  # monotone
    assert all(row.p_value <= row.p_holm <= 1 for row in reported)


def test_a_breakdown_that_repeats_another_is_no_further_test() -> None:
    predictions = [
        made_prediction(n, n % 3 > 0, facets={"kind": ("odd", "even")[n % 2 == 0], "set": "one"}) for n in range(20)
    ]
    result = compare(predictions, [made_prediction(n, n % 4 > 0, facets=p.facets) for n, p in enumerate(predictions)])
    assert list(result.groups) == ["", "kind"]
    assert result.num_tests == 3
    assert {row.name: row.p_holm for row in result.question_types} == {
        row.name: row.p_holm for row in result.facets["kind"]
    }
    assert result.facets["set"][0].p_holm == result.overall.p_holm
