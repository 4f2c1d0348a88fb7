"""The old scorers: their leniency is kept, and what stopped them is refused in words."""

from __future__ import annotations

import pytest

from vidweave.contra4.legacy_scores import score_2024, score_2025, signal_to_noise_2024
from vidweave.errors import AnnotationError


def question(name, q_type="mc_2", selection="random", **more):
    modalities = ["audio", "pc", "image", "video"][: int(q_type[-1])]
    return {"id": name, "q_type": q_type, "selection_type": selection, "modalities": modalities, **more}


def test_2025_counts_what_contains_the_answer() -> None:
    questions = [question("a", gt_answer="B"), question("b", "mc_3", "similarity", gt_answer="Scene C")]
    reply = [
        {"id": "a", "pred_ans": "Because it is loud", "gt_answer": "B"},
        {"id": "b", "pred_ans": "C", "gt_answer": "Scene C"},
    ]
    scores = score_2025(questions, reply)
    assert (scores.predictions, scores.subsets["mc2"], scores.subsets["mc3_hs"]) == ((1, 2), (1, 1), (0, 1))
    assert scores.csv_line() == "1.00,1.00,0.00,0.00,1.00,0.00,0.50,"
    assert scores.modalities == {"['audio', 'pc']": (1, 1), "['audio', 'pc', 'image']": (0, 1)}


@pytest.mark.parametrize(
    ("questions", "reply", "message"),
    [
        ([question("a", gt_answer="A")], [{"qid": "a"}], "need an id under one of question_id, id, sample_id"),
        ([question("a", gt_answer="A")], [{"id": "a", "pred_ans": "A", "gt_ans": "A"}], "needs one of gt_answer"),
        ([question("a", gt_answer="A")], [{"id": "z", "answer": "A", "gt_answer": "A"}], "'z' refers to no question"),
        ([question("a", answer="A")], [{"id": "a", "answer": "A", "gt_answer": "A"}], "needs one of answers"),
    ],
)
def test_what_stopped_the_2025_script_is_refused(questions, reply, message) -> None:
    with pytest.raises(AnnotationError, match=message):
        score_2025(questions, reply)


@pytest.mark.parametrize(
    ("answer", "reply", "right"),
    [
        ("Scene A", "o", 1),
        ("Scene A", "the sound", 1),
        ("Scene A", "scene b", 0),
        ("Scene B", "the 3D model", 1),
        ("Scene B", "", 0),
        ("Scene A", "", 1),  # read as "none", which holds "one"
        ("Scene B", "It may be B or A", 1),
        ("Scene C", "scene c", 0),  # there are two scenes
    ],
)
def test_2024_is_lenient_in_known_ways(answer, reply, right) -> None:
    assert score_2024([question("a")], [{"id": "a", "pred_ans": reply, "gt_ans": answer}])["correct"] == right


def test_2024_refuses_another_answer() -> None:
    with pytest.raises(AnnotationError, match="must be Scene A to Scene D, got 'the first'"):
        score_2024([question("a")], [{"id": "a", "pred_ans": "a", "gt_ans": "the first"}])


def test_a_ratio_without_a_divisor_has_no_value() -> None:
    scores = score_2024([question("a")], [{"id": "a", "pred_ans": "A", "gt_ans": "Scene A"}])
    nothing = dict.fromkeys(scores, 0.0)
    result = signal_to_noise_2024(scores, nothing, nothing)
    assert set(result.values()) == {None}
    assert signal_to_noise_2024(scores, {**nothing, "accuracy": 1.0}, nothing)["accuracy"] == 1.0
