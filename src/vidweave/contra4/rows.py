"""Rows: what travels from stage to stage, one JSON object each, with the keys of the published intermediate files.

| key | from | what |
| --- | --- | --- |
| ``source, id, modality, url, meta`` | pools | one medium; ``caption`` is a list of texts of which the first is used |
| ``id, selection_type, q_type, examples, modalities`` | sampling | scenes that will be compared, in label order |
| ``questions`` | questions | a list with one question |
| ``answers`` | answers | a list with one text, normally ``Scene X. because …`` |
| ``answer_NAME`` | verification | what verifier NAME picked, per order of the scenes |
| ``permutations, answers_formatted, answer_NAME_formatted`` | filters | the orders, and the texts parsed again |
| ``category`` | categories | free text |
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import permutations
from typing import Any

from vidweave.contra4.schema import MAX_SCENES

__all__ = ["NOT_ASKED", "Row", "captions_of", "first_line", "has_repeated_modality", "orders", "question_of"]

Row = dict[str, Any]

NOT_ASKED = "not asked"
"""A verdict for which no request was sent; it names no scene to any parser."""


@cache
def orders(count: int) -> tuple[tuple[int, ...], ...]:
    """All orders of `count` scenes, the given one first; ``order[i]`` is the scene at position i."""
    return tuple(permutations(range(count)))


def captions_of(row: Row) -> list[str]:
    """The first caption of each scene; four at most, as many as there are labels."""
    captions = [example["caption"] for example in row["examples"][:MAX_SCENES]]
    return [caption if isinstance(caption, str) else caption[0] for caption in captions]


def question_of(row: Row) -> str:
    return row["questions"][0]


def has_repeated_modality(row: Row) -> bool:
    modalities: Sequence[str] = row["modalities"]
    return len(set(modalities)) < len(modalities)


def first_line(text: str) -> str:
    """What a completion says before its first line break, without blanks around it."""
    return text.partition("\n")[0].strip()
