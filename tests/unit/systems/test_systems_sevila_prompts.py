"""SeViLA's prompts: rows that lack something, clips, file names."""

import pytest

from vidweave.errors import AnnotationError
from vidweave.systems.crema.sevila_prompts import SevilaQuestion

ROW = {"qid": "CW_7", "video": "v", "question": "why?", "num_option": 3, "a0": "x", "a1": "y", "a2": "z", "answer": 2}


def test_a_clip_and_the_letter():
    question = SevilaQuestion.of({**ROW, "start": "1.5", "end": 7})
    assert (question.clip, question.target(), question.file()) == ((1.5, 7.0), "Option C", "v.mp4")
    assert SevilaQuestion.of(ROW).clip is None


def test_tv_clips_of_vlep_lose_their_ending_and_youtube_clips_do_not():
    row = {key: value for key, value in ROW.items() if key != "question"} | {"qid": "VLEP_3"}
    assert SevilaQuestion.of({**row, "video": "friends_clip_ep"}).file() == "friends_clip.mp4"
    assert SevilaQuestion.of({**row, "video": "id_subs_1_00:00:10_ep"}).file() == "id_subs_1_00:00:10_ep.mp4"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a2": None, "num_option": 4}, "'CW_7' lacks 'a3'; expected SeViLA's form"),
        ({"answer": 3}, "answer 3 is not one of 3 options"),
        ({"answer": -1}, "answer -1 is not one of 3 options"),
        ({"answer": "x"}, "cannot be read"),
        ({"start": "NaN", "end": "NaN"}, "start and end must be finite, with 0 <= start < end, got nan and nan"),
        ({"start": 5, "end": 5}, "start < end, got 5 and 5"),
        ({"start": 5}, "lacks 'end'"),
        ({"num_option": 0}, "answer 2 is not one of 0 options"),
    ],
)
def test_rows_that_cannot_be_read(change, message):
    with pytest.raises(AnnotationError, match=message):
        SevilaQuestion.of({**ROW, **change})


def test_a_question_is_needed_outside_vlep():
    with pytest.raises(AnnotationError, match="'CW_7' lacks 'question'"):
        SevilaQuestion.of({key: value for key, value in ROW.items() if key != "question"})
