"""Option parsers of other projects: where they differ, and that none draws at random."""

import pytest

from vidweave.errors import QueryError, UnknownNameError
from vidweave.evaluation.scorers.mcq_parsing import (
    DEFECTS,
    REFUSAL,
    lmms_eval_mmmu,
    lmms_eval_perception,
    merv_first_character,
    parse_choice,
    parsers,
    vlmevalkit_choice,
)

OPTIONS = ("sit down", "run away", "bark")
LETTERS = dict(zip("ABC", OPTIONS, strict=True))


@pytest.mark.parametrize("parser", parsers())
def test_every_parser_reads_a_letter_and_refuses_nothing_at_all(parser):
    assert parse_choice("B", OPTIONS, parser) == 1
    assert parse_choice("", OPTIONS, parser) is None
    assert parse_choice("日本語", OPTIONS, parser) is None
    assert parse_choice("D", OPTIONS, parser) is None  # a letter without an option
    assert parser in DEFECTS


def test_parsers_differ_where_their_rules_do():
    result = {parser: parse_choice("C is wrong, B is right", OPTIONS, parser) for parser in parsers()}
    assert result == {
        "vidweave": result["vidweave"],
        "merv": 2,
        "lmms-eval-mmmu": 1,
        "lmms-eval-perception": 2,
        "vlmevalkit": None,
    }
    assert parse_choice("because", OPTIONS, "merv") == 1
    assert merv_first_character("") == ""


def test_unknown_parser_and_too_many_options():
    with pytest.raises(UnknownNameError, match="unknown parser of choices 'vlmeval'; did you mean 'vlmevalkit'"):
        parse_choice("A", OPTIONS, "vlmeval")
    with pytest.raises(QueryError, match="letters from A to Z, got 27 options"):
        parse_choice("A", ["x"] * 27, "merv")


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("(A) then (B), no, (A)", "A"),
        ("xA B ", "B"),
        ("A.x", "A"),
        ("they all decide to run away and Sit Down", "A"),
        ("they run away", None),  # too short for option texts
        ("''B''", "B"),
    ],
)
def test_mmmu_order_of_rules(reply, letter):
    assert lmms_eval_mmmu(reply, LETTERS) == letter


def test_mmmu_takes_the_first_of_equal_option_texts():
    assert lmms_eval_mmmu("well I think that the man ran", {"A": "ran", "B": "ran"}) == "A"


@pytest.mark.parametrize(("reply", "position"), [("a B", 1), ("E then D", 3), ("AB", None), ("A_B C", 2)])
def test_perception(reply, position):
    assert lmms_eval_perception(reply) == position


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("Sorry, I can't help with images of people yet. B", REFUSAL),
        ("Z", REFUSAL),
        ("Failed to obtain answer via API", None),
        ("B because one two three four five", None),  # the letter is not among the last words
        ("the answer is **b**, since one two three four five six", "B"),
        ("the answer is bark", "B"),  # the defect: the first letter of a word
        ("RUN AWAY!", "B"),
        ("run away " + "x" * 60, None),  # much longer than the options
    ],
)
def test_vlmevalkit(reply, letter):
    assert vlmevalkit_choice(reply, LETTERS) == letter
    if letter == REFUSAL:
        assert parse_choice(reply, OPTIONS, "vlmevalkit") is None
