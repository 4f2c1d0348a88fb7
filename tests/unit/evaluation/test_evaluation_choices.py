"""Which option a free text chooses."""

from __future__ import annotations

import re
from itertools import permutations
from time import process_time

import pytest

from vidweave.evaluation.choices import chosen_option

SCENES = ("Scene A", "Scene B", "Scene C")

# Replies of chat models, in the forms that they take; None: no choice, or more than one
REPLIES: dict[str, dict[str, int | None]] = {
    "letters": {
        "B": 1,
        "b": 1,
        "a": 0,
        "b)": 1,
        "(b)": 1,
        "(C)": 2,
        "[B]": 1,
        "B.": 1,
        "a.": 0,
        "B:": 1,
        " \n C \n": 2,
        "B\n\nThe dog barks louder than anything in scene A.": 1,
        "B. In scene A there is only silence.": 1,
        "A. because B is quiet": 0,
        "A, because B is quiet": 0,
        "C) A man speaks over loud music, unlike Scene A and Scene B.": 2,
        "(b) the others are silent": 1,
        "B - the engine in A is far away": 1,
        "B – a dog": 1,
        "C because A and B are outdoors": 2,
        "A is louder": 0,
    },
    "scene names": {
        "Scene B": 1,
        "scene c": 2,
        " scene  b. ": 1,
        "SCENE B": 1,
        "Scene B: the rain is heavier than in Scene A.": 1,
        "Scene C. In scene A and scene B nobody speaks.": 2,
        "Scene B, since scene A has no water": 1,
        "Option: a": 0,
        "Option (B)": 1,
        "Choice C": 2,
        "my choice (b), because": 1,
        "It must be scene b, I think": 1,
        "Scene A has the most people.": 0,
        "Scene a is the brightest": 0,
    },
    "markdown and markup": {
        "**B**": 1,
        "**C** is the scene where a crowd cheers, while A is quiet.": 2,
        "**Scene B**: there is a crowd.": 1,
        "**B.** In scene A nobody moves": 1,
        "*b*": 1,
        "`C`": 2,
        "### Answer\n\n**B**": 1,
        "> B": 1,
        "**Answer:** C": 2,
        '"B"': 1,
        r"$\boxed{B}$": 1,
        "<answer>B</answer>": 1,
        "<think>Scene A? No. Scene C is darker.</think>\nC": 2,
        "<think>Scene A? It has no end": None,
        "**A** is quiet and **B** is loud": None,
        '{"answer": "B"}': 1,
        "- B": 1,
    },
    "the answer is": {
        "Answer: B": 1,
        "answer: b": 1,
        "Answer: (C) A": 2,
        "Answer: (C) A man talks": 2,
        "The answer is B.": 1,
        "The answer is: b": 1,
        "The correct answer is Scene C and not Scene A": 2,
        "The correct option is (B) because scene A is indoors": 1,
        "I would choose B over A.": 1,
        "I'd go with scene C; scene B is close.": 2,
        "My final answer is **Scene B**": 1,
        "The answer is most likely C": 2,
        "I think it is B": 1,
        "Final answer: A": 0,
        "Scene B is the best answer, scene A has no sound.": 1,
        "B is the right choice and A is the wrong choice": None,
        "The answer is a man walking": None,
        "The answer is A man walking": None,
    },
    "reasoning, then an answer": {
        "Scene A shows a beach. Scene B shows a saw. The answer is Scene B.": 1,
        "A has a dog and B a cat. C has a lion, the most dangerous.\n\nC": 2,
        "A. beach\nB. station\nC. garden\nThe answer is C": 2,
        "Scene A is silent while scene B hums. So the correct scene is B.": 1,
        "In A we hear birds, in C cars. Therefore, C.": 2,
        "Let me think. Scene A: calm. Scene B: loud. Final answer: Scene B": 1,
    },
    "more than one": {
        "A or B": None,
        "A/B": None,
        "a or b": None,
        "A and B": None,
        "A, B": None,
        "A, B and C": None,
        "Both A and B": None,
        "B, or maybe A": None,
        "Scene A or B": None,
        "Scenes A and C": None,
        "Scene A and Scene B": None,
        "(A) or (B)": None,
        "The answer is A or B.": None,
        "The answer is A. No wait, the answer is B.": None,
        "A... no wait, B": None,
        "A. beach\nB. station\nC. garden": None,
        "Scene A: a dog. Scene B: a cat.": None,
        "Scene A is silent, B is loud": None,
        "C is wrong, B is right": None,
        "Neither A nor B": None,
        "The scenes A, B and C all show people": None,
        "B\nC": None,
    },
    "negations and refusals": {
        "not A": None,
        "It is not scene B": None,
        "C is wrong": None,
        "Scene A is not the answer": None,
        "The answer is not B": None,
        "The answer isn't B": None,
        "I would not choose A": None,
        "I can't pick B": None,
        "I do not think it is C": None,
        "It cannot be B": None,
        "C, not B": 2,
        "B rather than A": 1,
        "I cannot tell.": None,
        "I'm sorry, I can't watch videos.": None,
        "None of the scenes": None,
        "": None,
        "...": None,
        "I": None,
        "N/A": None,
    },
    "letters that are words or parts of words": {
        "A man walks": None,
        "A man walks in scene B": 1,
        "A dog barks. A cat sleeps.": None,
        "Scene B. A man walks": 1,
        "It is scene B. A BMW passes": 1,
        "In the scene a man walks": None,
        "In this scene I hear a dog": None,
        "Because of the noise": None,
        "the scenes differ": None,
        "At night": None,
        "A T-shirt": None,
        "Someone takes an X-ray in scene B": 1,
        "e.g. a dog": None,
        "The A.M. news": None,
    },
    "scenes that are not there": {
        "Scene D": None,
        "D": None,
        "(d)": None,
        "The answer is D": None,
        "D, or A": None,
    },
    "other punctuation and languages": {
        "答案：B": 1,
        "答案是B。": 1,
        "（Ｂ）": 1,
        "Ｃ": 2,
        "La réponse est C.": 2,
        "«B»": 1,
        "¿B?": 1,
        "Die Antwort ist B, weil es laut ist": 1,
        "“Scene C”": 2,
    },
}


@pytest.mark.parametrize("kind", REPLIES)
def test_what_a_reply_chooses(kind) -> None:
    result = {text: chosen_option(text, SCENES) for text in REPLIES[kind]}
    assert result == REPLIES[kind]


def test_replies_favor_no_letter() -> None:
    """A reply with its letters exchanged chooses the exchanged scene ("A" as a word aside)."""
    kinds = ("scene names", "markdown and markup", "more than one", "negations and refusals")
    skipped = {"N/A", "Scene a is the brightest", "I"}
    for text, position in ((t, p) for kind in kinds for t, p in REPLIES[kind].items() if t not in skipped):
        for new in permutations("ABC"):
            swap = dict(zip("ABC", new, strict=True))
            words = [_swapped(word, swap) for word in _words(text)]
            expected = None if position is None else "ABC".index(swap["ABC"[position]])
            assert chosen_option("".join(words), SCENES) == expected, "".join(words)


def _words(text: str) -> list[str]:
    return re.split(r"(\b[A-Ca-c]\b)", text)


def _swapped(word: str, swap: dict[str, str]) -> str:
    if word.upper() not in swap:
        return word
    new = swap[word.upper()]
    return new if word.isupper() else new.lower()


OPTIONS = ("blue", "dark red", "no color", "red")


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("Blue.", 0),
        ("blue", 0),
        ("**Dark red**", 1),
        ("The answer is dark red.", 1),
        ("Answer: red", 3),
        ("B. dark red", 1),
        ("(D) red", 3),
        ("Red, because of the ball", 3),
        ("No color.", 2),
        ("A", 0),
        ("A. red", None),  # letter and text disagree
        ("red or blue", None),
        ("The answer is not red", None),
        ("There is no color that is not red or blue", None),
        ("E", None),
    ],
)
def test_options_of_any_kind_are_chosen_by_text_or_letter(text, position) -> None:
    assert chosen_option(text, OPTIONS) == position


def test_a_text_that_is_an_option_is_that_option_whatever_its_letters() -> None:
    options = ("blue", "A", "vitamin c")
    assert [chosen_option(text, options) for text in ("Blue.", "A", "Vitamin C", "C")] == [0, 1, 2, 2]


def test_labels_in_another_order_are_read_by_their_letter() -> None:
    options = ("Scene C", "Scene A", "Scene B")
    assert [chosen_option(text, options) for text in ("Scene C", "C", "(b)", "The answer is A.")] == [0, 0, 2, 1]


@pytest.mark.parametrize("count", range(2, 5))
def test_what_every_option_says_of_itself_is_read_back(count) -> None:
    options = tuple(f"Scene {letter}" for letter in "ABCD"[:count])
    for position, option in enumerate(options):
        for form in ("{}", "{}.", "The answer is {}", "{} because it is loud", "\n{}\n"):
            assert chosen_option(form.format(option), options) == position
            assert chosen_option(form.format(option.lower()), options) == position


def test_a_long_reply_is_read_in_no_time() -> None:
    start = process_time()
    for part in ("A ", "<think>", "*", "(", "answer is ", "not ", "scene ", "blue "):
        chosen_option(part * 3000, (*OPTIONS, "Scene A"))
    assert process_time() - start < 5
