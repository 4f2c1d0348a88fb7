"""Which option a free text chooses."""

from __future__ import annotations

import pytest

from vidweave.evaluation.choices import chosen_option

SCENES = ("Scene A", "Scene B", "Scene C")


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("Scene B", 1),
        (" scene  b. ", 1),
        ("The answer is Scene C and not Scene A", 2),
        ("Option: a", 0),
        ("my choice (b), because", 1),
        ("B", 1),
        ("**B**", 1),
        ("(C)", 2),
        ("A. because B is quiet", 0),
        ("A is louder", 0),
        ("I think it is B", 1),
        ("Answer: B", 1),
        ("Scene D", None),  # there is none
        ("D", None),
        ("Both A and B", None),
        ("A man walks", None),
        ("Because of the noise", None),
        ("a", None),
        ("the scenes differ", None),
        ("", None),
    ],
)
def test_labels(text, position) -> None:
    assert chosen_option(text, SCENES) == position


def test_options_of_any_kind_are_chosen_by_their_text_first() -> None:
    options = ("blue", "A", "vitamin c")
    assert [chosen_option(text, options) for text in ("Blue.", "A", "Vitamin C", "C")] == [0, 1, 2, 2]


@pytest.mark.parametrize("count", range(2, 5))
def test_what_every_option_says_of_itself_is_read_back(count) -> None:
    options = tuple(f"Scene {letter}" for letter in "ABCD"[:count])
    for position, option in enumerate(options):
        for form in ("{}", "{}.", "The answer is {}", "{} because it is loud", "\n{}\n"):
            assert chosen_option(form.format(option), options) == position
            assert chosen_option(form.format(option.lower()), options) == position
