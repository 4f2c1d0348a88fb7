"""Scorers of open answers: SQA3D, VQA text processing, beams, LVU's clips and videos."""

import pytest

from vidweave.data.lvu_clips import clip_frames, lvu_clips, video_of
from vidweave.errors import AnnotationError, PredictionError
from vidweave.evaluation.scorers.lvu_clips import score_clips, score_videos
from vidweave.evaluation.scorers.sqa3d import (
    Sqa3dResponse,
    clean_sqa3d,
    clean_three_d_llm,
    is_right_official,
    question_class,
    sqa3d_official,
    three_d_llm_top1,
)
from vidweave.evaluation.scorers.table import Tally
from vidweave.evaluation.scorers.vqa_text import strip_digits_and_articles, strip_punctuation, vqa_processed
from vidweave.evaluation.scorers.vqa_top1 import beam_accuracy_malmm, beam_accuracy_strict


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("", ""),
        ("  The Chai  ", "chair"),
        ("rigth", "right"),
        ("rght side", "right side"),
        ("o'  clock", "o'clock"),
        ("23", "twenty-three"),
        ("21", "21"),
        ("mat2", "mat"),
        ("backwards", "backward"),
        ("left\nright", "left\nright"),
        ("日本", ""),
        ("let's go", "left's go"),
    ],
)
def test_cleaning_of_sqa3d(text, cleaned):
    assert clean_sqa3d(text) == cleaned


def asked(prediction, *answers, question="What is it?", id="1"):
    return Sqa3dResponse(id=id, question=question, answers=answers, prediction=prediction)


def test_the_generous_and_the_exact_scorer_of_sqa3d():
    rows = [
        asked("", "table", id="a"),
        asked("a red chair", "chair", id="b", question="Which way?"),
        asked("TV", "tv", "TV", id="c", question="IS it?"),
        asked(None, "table", id="d"),
    ]
    generous, exact = sqa3d_official(rows), three_d_llm_top1(rows)
    assert (generous.overall, generous.answered) == (
        Tally(num_correct=3, num_items=4),
        Tally(num_correct=3, num_items=3),
    )
    assert exact.overall == Tally(num_correct=1, num_items=4)
    assert any("empty prediction" in defect for defect in generous.defects)
    assert not exact.defects
    assert exact.groups["Which"] == Tally(num_correct=0, num_items=1)
    assert exact.groups["Other"] == Tally(num_correct=1, num_items=1)  # the rule is case-sensitive
    assert exact.num_missing == 1


def test_a_space_is_no_common_word():
    assert not is_right_official("two red", "blue chairs")
    assert is_right_official("white  board", "whiteboard")


def test_small_rules_of_three_d_llm():
    assert clean_three_d_llm("<pad>\n a, b </s>\nc") == "a b "
    assert clean_three_d_llm("") == ""
    assert question_class("Can What be?") == "What"


@pytest.mark.parametrize(
    ("text", "processed"),
    [
        ("y'all'dve", "y'all'd've"),
        ("couldntve 'ow'sat", "couldntve 'ow's'at"),
        ("hadnt've it'dve", "hadn't've it'd've"),
        ("Im", "im"),  # the table has a capital, and the words are lower by then
        ("a.b.", "ab"),
        ("3.5.", "3.5"),
        ("left\tright\n", "left right"),
        ("x-y - z", "xy z"),
        ("café’s", "café’s"),
        ("", ""),
    ],
)
def test_vqa_processing(text, processed):
    assert vqa_processed(text) == processed


def test_vqa_quirks():
    assert strip_punctuation("." * 40) == "." * 8  # at most 32 periods
    assert strip_punctuation("1,000 (men)") == "1000 men"  # a comma in a number joins all other words too
    assert strip_punctuation("x(y") == "x y"
    assert strip_digits_and_articles("The Ten Men") == "10 men"


def test_beams():
    answers = {"1": "man", "2": "two", "3": "red"}
    beams = {"1": ["man runs", "x"], "2": ["Two", "a", "b", "c", "d", "two"]}
    cut = beam_accuracy_malmm(answers, beams, cuts_at_space=True)
    assert (cut.groups["top1"], cut.groups["top5"]) == (Tally(num_correct=1, num_items=2),) * 2
    assert beam_accuracy_malmm(answers, beams, cuts_at_space=False).groups["top1"].num_correct == 0
    strict = beam_accuracy_strict(answers, beams)
    assert strict.groups["top1"] == strict.overall == Tally(num_correct=1, num_items=3)
    assert (strict.num_missing, strict.answered.num_items) == (1, 2)
    assert any("excluded from the denominator" in defect for defect in cut.defects)
    assert beam_accuracy_malmm(answers, {"1": []}, cuts_at_space=True).groups["top5"].num_correct == 0
    for scorer in (beam_accuracy_strict, lambda *sides: beam_accuracy_malmm(*sides, cuts_at_space=False)):
        with pytest.raises(AnnotationError, match="prediction for question '9', which the annotations do not have"):
            scorer(answers, {"9": ["a"]})


def test_clips_are_sorted_as_text_and_short_videos_have_one():
    keys = [clip.key for clip in lvu_clips({"b_c": 203, "a": 0})]
    assert keys == ["a_0", "b_c_0", "b_c_100", "b_c_20", "b_c_40", "b_c_60", "b_c_80"]
    assert {video_of(key) for key in keys} == {"a", "b_c"}
    with pytest.raises(AnnotationError, match="LVU video 'x' has duration -1, expected 0 s or more"):
        lvu_clips({"x": -1})


def test_frames_stay_in_the_video_and_ties_round_to_even():
    (clip,) = lvu_clips({"a": 1})
    assert clip_frames(clip, 6, num_samples=11) == [0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5]


def test_votes_per_video_differ_from_marks_per_clip():
    answers = {"a_b": "x", "c": "y", "d": "y"}
    clips = {"a_b_0": "x", "a_b_20": "y", "a_b_40": "y", "c_0": "y"}
    assert score_clips(answers, clips).overall == Tally(num_correct=2, num_items=4)
    votes = {"a_b_0": [0.9, 0.1], "a_b_20": [0.4, 0.6], "a_b_40": [0.4, 0.6], "c_0": [0.5, 0.5]}
    table = score_videos(answers, ("x", "y"), votes)  # a tie takes the first class, as argmax does
    assert (table.overall, table.answered) == (Tally(num_correct=1, num_items=3), Tally(num_correct=1, num_items=2))
    with pytest.raises(PredictionError, match="clip 'c_0' has 1 probabilities for 2 classes"):
        score_videos(answers, ("x", "y"), {"c_0": [1.0]})
    for scorer in (lambda: score_clips(answers, {"z_0": "x"}), lambda: score_videos(answers, ("x",), {"z_0": [1.0]})):
        with pytest.raises(AnnotationError, match="clip 'z_0' belongs to no annotated video; keys are <video>_<start>"):
            scorer()
