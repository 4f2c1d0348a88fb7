"""Scorers by group of questions: missing predictions, unknown types, empty groups, repeated ids, named defects."""

import pytest

from vidweave.errors import AnnotationError, PredictionError
from vidweave.evaluation.scorers.activitynetqa import (
    activitynetqa_official,
    activitynetqa_strict,
    print_activitynetqa,
)
from vidweave.evaluation.scorers.music_avqa import music_avqa_official, music_avqa_strict, music_avqa_type
from vidweave.evaluation.scorers.nextqa import nextqa_official, nextqa_strict
from vidweave.evaluation.scorers.sevila import sevila_metrics, sevila_strict
from vidweave.evaluation.scorers.table import Response, Tally, tally_by

COUNTING, LOCATION = '["Audio", "Counting"]', '["Visual", "Location"]'


def made(*rows):
    return [
        Response(id=f"v_{n}", question_type=kind, answer=answer, prediction=prediction)
        for n, (kind, answer, prediction) in enumerate(rows)
    ]


def test_a_group_without_questions_has_no_value():
    empty = Tally(num_correct=0, num_items=0)
    assert (empty.fraction, empty.percent, empty.show()) == (None, None, "n/a")
    assert Tally(num_correct=1, num_items=32).show() == "3.12"  # ties to even, as Python prints
    assert tally_by([("b", True), ("a", False), ("b", False)], ("z",)) == {
        "z": empty,
        "b": Tally(num_correct=1, num_items=2),
        "a": Tally(num_correct=0, num_items=1),
    }


def test_previous_counts_as_next_in_the_official_score_only():
    rows = made(("TP", 3, 3), ("TN", 1, 2), ("CW", 0, 0))
    official, strict = nextqa_official(rows), nextqa_strict(rows)
    assert official.groups["Bef&Aft"] == Tally(num_correct=1, num_items=2)
    assert "Prev" not in official.groups
    assert strict.groups["Prev"] == Tally(num_correct=1, num_items=1)
    assert strict.groups["Acc_T"] == official.groups["Acc_T"] == Tally(num_correct=1, num_items=2)
    assert official.overall == strict.overall == Tally(num_correct=2, num_items=3)
    assert "TP" in official.defects[0]
    assert not strict.defects
    assert official.to_dict()["overall"] == {"num_correct": 2, "num_items": 3, "percent": pytest.approx(200 / 3)}


def test_a_missing_prediction_is_refused_or_wrong_with_both_denominators():
    rows = made(("CW", 0, 0), ("CW", 0, None), ("DO", 4, None))
    with pytest.raises(PredictionError, match=r"nextqa-official needs .* 2 have none \(first: 'v_1'\); use the strict"):
        nextqa_official(rows)
    table = nextqa_strict(rows)
    assert (table.overall, table.answered) == (Tally(num_correct=1, num_items=3), Tally(num_correct=1, num_items=1))
    assert (table.num_missing, table.to_dict()["num_missing"]) == (2, 2)
    with pytest.raises(PredictionError, match="music-avqa-official needs"):
        music_avqa_official(made((COUNTING, "two", None)))


@pytest.mark.parametrize(
    ("scorer", "row", "message"),
    [
        (nextqa_strict, ("DB", 0, 0), "question 'v_0' has type 'DB', expected one of CW, CH, TN"),
        (activitynetqa_strict, ("9", "a", "a"), "question 'v_0' has type '9', expected 0 to 8"),
        (music_avqa_strict, ("Audio Counting", "a", "a"), "type 'Audio Counting' was not understood, expected a pair"),
        (music_avqa_strict, ('["Audio", "Location"]', "a", "a"), "was not understood"),
        (music_avqa_strict, ('["Audio"]', "a", "a"), "was not understood"),
        (music_avqa_strict, ('[["Audio"], {}]', "a", "a"), "was not understood"),
    ],
)
def test_unknown_question_types(scorer, row, message):
    with pytest.raises(AnnotationError, match=message):
        scorer(made(row))


@pytest.mark.parametrize("scorer", [nextqa_strict, sevila_strict])
def test_repeated_ids(scorer):
    twice = made(("CW", 1, 1)) * 2
    with pytest.raises(AnnotationError, match="question id 'v_0' occurs twice; give each question its own id"):
        scorer(twice)


def test_music_avqa_compares_letters_officially_and_words_strictly():
    rows = made((COUNTING, "two", "Two."), (LOCATION, "acoustic_guitar", "acoustic guitar"), (LOCATION, "left", "left"))
    official, strict = music_avqa_official(rows), music_avqa_strict(rows)
    assert official.groups["Visual Accuracy"] == Tally(num_correct=1, num_items=2)
    assert official.groups["AV Accuracy"].percent is None
    assert (official.overall.num_correct, strict.overall.num_correct) == (1, 3)
    assert list(official.groups)[-1] == "Overall Accuracy"
    assert music_avqa_type(COUNTING) == "Audio Counting Accuracy"


def test_activitynet_names_its_wrong_free():
    """Types 3, 4 and 0 appear first, so that the official denominator of Free has only the last two questions."""
    rows = made(
        ("3", "yes", "yes"), ("4", "red", "Red"), ("0", "run", "run"), ("5", "cup", "cup"), ("5", "cup", " cup")
    )
    official, strict = activitynetqa_official(rows), activitynetqa_strict(rows)
    assert official.groups["Free"] == Tally(num_correct=2, num_items=2)
    assert official.groups["Free (intended)"] == Tally(num_correct=2, num_items=4)
    assert strict.groups["Free"] == Tally(num_correct=4, num_items=4)
    assert "Free" in official.defects[0]
    lines = print_activitynetqa(official)
    assert lines[1:6] == [
        "Motion: 1.0000", "Spatial Relation: n/a", "Temporal Relation: n/a", "Free: 1.0000", "All: 0.6000",
    ]  # fmt: skip


def test_a_denominator_of_zero_in_activitynet_has_no_value():
    official = activitynetqa_official(made(("3", "yes", "yes"), ("4", "red", "red")))
    assert official.groups["Free"] == Tally(num_correct=2, num_items=0)
    assert official.groups["Free"].fraction is None


def test_sevila_fraction_percent_and_the_mean_of_star():
    rows = [
        Response(id=f"{kind}_{n}", question_type="", answer=1, prediction=result)
        for n, (kind, result) in enumerate([("CW", 1), ("CW", 0), ("TN", 1), ("TN", 1)])
    ]
    assert sevila_metrics(rows) == {"agg_metrics": 0.75, "total": 4, "CW": 50.0, "TN": 100.0}
    star = [
        Response(id=f"{kind}_T1_{n}", question_type="", answer=0, prediction=result)
        for n, (kind, result) in enumerate(
            [("Interaction", 0), ("Sequence", 0), ("Sequence", 1), ("Prediction", 0), ("Feasibility", 0)]
        )
    ]
    assert sevila_metrics(star)["agg_metrics"] == pytest.approx((100 + 50 + 100 + 100) / 4)
    assert sevila_strict(star).overall == Tally(num_correct=4, num_items=5)


def test_sevila_has_no_value_where_the_script_stops():
    wrong = made(("", 1, 0))
    with pytest.raises(PredictionError, match=r"no correct answer \(v\); use the strict scorer"):
        sevila_metrics(wrong)
    assert sevila_strict(wrong).groups == {"v": Tally(num_correct=0, num_items=1)}
    with pytest.raises(PredictionError, match="there are no questions"):
        sevila_metrics([])
    with pytest.raises(PredictionError, match="sevila-official needs a prediction"):
        sevila_metrics(made(("", 1, None)))
