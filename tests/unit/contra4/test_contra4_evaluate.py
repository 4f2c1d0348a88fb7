"""A model measured: beside blind rules, with controls, in every order; resumed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.unit.contra4.contra4_media import Brightest, brightness, clip_of
from tests.unit.contra4.contra4_questions import question
from vidweave.contra4.blind import BlindAnswerer, always, blind_answers, by_modality, fitted_prior
from vidweave.contra4.evaluate import Evaluation, evaluate
from vidweave.errors import QueryError
from vidweave.evaluation.compare import compare_files
from vidweave.types import Answer, Query


def brightest(number: int):
    """A question whose answer is its brightest scene."""
    asked = question(number, scenes=2 + number % 3)
    worth = [brightness(clip_of(scene)) for scene in asked.scenes]
    return question(number, scenes=len(asked.scenes), answer=worth.index(max(worth)))


QUESTIONS = [brightest(n) for n in range(24)]
WHAT = Evaluation(questions=QUESTIONS, locate=clip_of, file_hash="ab", progress=False, controls=True, orders=True)


def test_a_model_that_sees_media_is_distinguished_from_blind_rules(tmp_path) -> None:
    result = evaluate(Brightest(), WHAT, tmp_path / "r.jsonl")
    assert result["overall"]["accuracy"] == 1.0
    assert result["coverage"] == {"asked": 24, "left_out": 0}
    rules = {rule["name"]: rule for rule in result["baselines"]}
    uniform = sum(1 / len(q.scenes) for q in QUESTIONS) / 24
    assert rules["uniform"]["overall"] == pytest.approx(uniform)
    assert rules["uniform"]["gain"] == pytest.approx(1 - uniform)
    assert rules["always A"]["overall"] == sum(q.answer == 0 for q in QUESTIONS) / 24
    assert result["controls"]["question alone"]["accuracy"] < 0.8
    controls = [result["controls"][name]["accuracy"] for name in ("question alone", "scenes of other questions")]
    noise = sum(controls) / 2
    assert result["measures"]["signal over noise (MSNR)"] == pytest.approx((1 - noise) / noise)
    assert result["controls"]["right in every order"]["accuracy"] == 1.0
    assert {"selection", "scenes", "modalities", "answer modality"} <= result["facets"].keys()
    assert "selection x scenes x modalities x answer modality" in result["facets"]
    json.dumps(result, allow_nan=False)


def test_old_scorers_are_lenient_beside_the_strict_one(tmp_path) -> None:
    class Hedging(Brightest):
        """Names all scenes, and says so in a way that no rule but the old ones takes."""

        def describe(self):
            return {"model": "hedging"}

        def answer(self, queries, **decoding):
            return [Answer(", ".join(reversed(query.options))) for query in queries]

    what = Evaluation(questions=QUESTIONS, locate=clip_of, progress=False)
    result = evaluate(Hedging(), what, tmp_path / "r.jsonl")
    assert result["overall"]["accuracy"] == 0.0
    assert result["measures"] == {
        "accuracy by the lenient scorer of 2025": 1.0,
        "accuracy by the lenient scorer of 2024": 1.0,
    }


def test_categories_are_a_side_where_the_file_has_them(tmp_path) -> None:
    every = "selection x scenes x modalities x answer modality"
    for category in (None, "Other"):
        asked = [replace(q, category=category) for q in QUESTIONS]
        result = evaluate(
            BlindAnswerer("prior", by_modality()), Evaluation(questions=asked, progress=False), tmp_path / f"{category}"
        )
        assert every in result["facets"]
        assert (f"{every} x category" in result["facets"]) is (category is not None)
    assert result["facets"][f"{every} x category"][0]["question_type"] == "random, mc_2, audio+pc, audio, Other"


def test_a_model_that_favours_a_place_is_found_by_reordering(tmp_path) -> None:
    result = evaluate(BlindAnswerer("always A", always(0)), WHAT, tmp_path / "r.jsonl")
    every = result["controls"]["every order of the scenes"]
    guessing = {rule["name"]: rule for rule in result["baselines"]}["uniform"]["overall"]
    assert every["accuracy"] == pytest.approx(guessing)
    assert every["num_items"] == len(QUESTIONS)
    assert every["low"] < guessing < every["high"]
    assert result["controls"]["same scene in every order"]["accuracy"] == 0
    assert result["measures"]["signal over noise (MSNR)"] == 0  # no medium was needed


def test_a_rule_by_modality_stays_with_its_scene(tmp_path) -> None:
    result = evaluate(BlindAnswerer("prior", by_modality()), WHAT, tmp_path / "r.jsonl")
    assert result["controls"]["same scene in every order"]["accuracy"] == 1
    rules = {rule["name"]: rule for rule in result["baselines"]}
    assert rules["modality prior (audio > image > video > pc)"]["gain"] == 0


def test_nothing_is_asked_twice_and_runs_compare(tmp_path) -> None:
    first = evaluate(Brightest(), WHAT, tmp_path / "r.jsonl")
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith(".")) == [
        "r.jsonl",
        "r.orders.jsonl",
        "r.other_scenes.jsonl",
        "r.text_only.jsonl",
    ]
    again = evaluate(Brightest(), WHAT, tmp_path / "r.jsonl")
    assert (again["num_resumed"], again["overall"]) == (24, first["overall"])
    evaluate(BlindAnswerer("always A", always(0)), WHAT, tmp_path / "blind.jsonl")
    result = compare_files(tmp_path / "r.jsonl", tmp_path / "blind.jsonl")
    assert (result.overall.num_items, result.overall.first) == (24, 1.0)


def test_the_fitted_prior_is_the_best_order_of_another_file() -> None:
    flipped = [question(n, scenes=2 + n % 3, answer=1 + n % 3) for n in range(12)]  # the last scene is right
    order = fitted_prior(flipped)
    assert order.index("video") < order.index("image") < order.index("pc") < order.index("audio")
    scores = blind_answers(flipped, fit_on=flipped)
    assert set(scores["fitted prior (" + " > ".join(order) + ")"].values()) == {1.0}


def test_a_rule_answers_this_task_only() -> None:
    with pytest.raises(QueryError, match="the rule 'always A' only answers Contra4 questions"):
        BlindAnswerer("always A", always(0)).answer([Query.about("a.mp4", "Which?")])
    picked = BlindAnswerer("d", always(3)).answer([Query("?", QUERY.scenes, QUERY.options, QUERY.extra)])
    assert picked[0].text == ""  # there is no fourth scene


QUERY = WHAT.task().example(0).query
