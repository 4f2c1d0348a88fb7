"""Question templates of MUSIC-AVQA: filled in order, as CREMA fills them, and as words."""

import pytest

from vidweave.data.music_avqa_text import fill_as_crema, fill_in_order, question_tokens
from vidweave.errors import AnnotationError

TEMPLATE = "Is the <Object> on the <LR> louder than the <Object> on the <LR>? "
VALUES = ("pipa", "left", "tuba", "right")


def test_both_readings():
    assert fill_in_order(TEMPLATE, VALUES) == "Is the pipa on the left louder than the tuba on the right?"
    assert fill_as_crema(TEMPLATE, VALUES) == "Is the pipa on the left louder than the pipa on the left? "
    assert question_tokens(TEMPLATE, VALUES)[-3:] == ["on", "the", "right"]
    assert fill_in_order("How many？", ()) == fill_as_crema("How many？", ()) == "How many？"


def test_a_value_with_brackets_or_escapes_is_taken_as_it_is():
    assert fill_in_order("<A> and <A>", ("<A>", r"\1")) == r"<A> and \1"


def test_lrer_is_another_placeholder_than_lr():
    assert fill_as_crema("<LRer> <LR>?", ("leftest", "right")) == "leftest right?"


@pytest.mark.parametrize("fill", [fill_in_order, fill_as_crema, question_tokens])
def test_too_few_values(fill):
    with pytest.raises(
        AnnotationError, match=r"has 4 placeholders and 1 values \(templ_values\), expected equal numbers"
    ):
        fill(TEMPLATE, ("pipa",))


@pytest.mark.parametrize("fill", [fill_in_order, fill_as_crema])
def test_too_many_values(fill):
    with pytest.raises(AnnotationError, match="has 0 placeholders and 1 values"):
        fill("How many?", ("pipa",))


def test_an_empty_question_has_one_empty_word():
    assert question_tokens("", ()) == [""]
