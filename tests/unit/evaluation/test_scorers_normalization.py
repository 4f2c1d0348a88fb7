"""Exact match under a named normalization."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vidweave.errors import UnknownNameError
from vidweave.evaluation.metrics import is_correct
from vidweave.evaluation.scorers.normalization import NORMALIZATIONS, exact_match, is_exact_match


@pytest.mark.parametrize(
    ("prediction", "answer", "matching"),
    [
        ("two", "two", set(NORMALIZATIONS)),
        ("2", "two", {"digits-to-words", "sqa3d", "vqa"}),
        ("Two.", "two", {"casefold", "sqa3d", "vqa"}),
        ("the table", "table", {"sqa3d", "vqa"}),
        ("table</s>", "table", {"3d-llm"}),
        ("trash can", "trashcan", set()),
        ("", "table", set()),
        ("...", "", set()),  # nothing is left of it, and yet it is no empty answer
        ("", "", set(NORMALIZATIONS)),
        ("ÉTÉ", "été", {"casefold", "sqa3d", "vqa"}),
        ("été", "âtâ", {"sqa3d"}),  # its cleaning drops letters that are not ASCII
    ],
)
def test_which_normalizations_match(prediction, answer, matching):
    result = {name for name in NORMALIZATIONS if is_exact_match(prediction, ["other", answer], name)}
    assert result == matching


@given(st.text("aB .\n", max_size=6), st.text("Ab .\n", max_size=6))
def test_casefold_is_the_rule_of_our_own_reports(prediction, answer):
    assume(NORMALIZATIONS["casefold"](prediction))
    assert is_exact_match(prediction, [answer]) == is_correct(prediction, answer)


def test_a_missing_prediction_is_wrong():
    assert exact_match({"a": "x"}, {"a": ["y", "X"], "b": [""], "c": []}) == {"a": True, "b": False, "c": False}


def test_unknown_normalization():
    with pytest.raises(UnknownNameError, match="unknown normalization of answers 'case'; did you mean 'casefold'"):
        is_exact_match("a", ["a"], "case")
