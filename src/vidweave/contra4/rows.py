"""Rows passed between stages: one JSON object each, with the keys of the published intermediate files.

| key | added by | content |
| --- | --- | --- |
| ``source, id, modality, url, meta`` | pools | one medium; ``caption`` is a list of texts, the first one is used |
| ``id, selection_type, q_type, examples, modalities`` | sampling | the scenes to compare, in label order |
| ``questions`` | questions | a list with one question |
| ``answers`` | answers | a list with one text, normally ``Scene X. because …`` |
| ``answer_NAME`` | verification | choice of verifier NAME for each order of the scenes |
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
"""Verdict used where no request was sent; no parser reads a scene in it."""


@cache
def orders(count: int) -> tuple[tuple[int, ...], ...]:
    """Return all orders of `count` scenes, the given one first; ``order[i]`` is the scene at position i."""
    return tuple(permutations(range(count)))


def captions_of(row: Row) -> list[str]:
    """Return the first caption of each scene, up to four (the number of labels)."""
    captions = [example["caption"] for example in row["examples"][:MAX_SCENES]]
    return [caption if isinstance(caption, str) else caption[0] for caption in captions]


def question_of(row: Row) -> str:
    return row["questions"][0]


def has_repeated_modality(row: Row) -> bool:
    modalities: Sequence[str] = row["modalities"]
    return len(set(modalities)) < len(modalities)


def first_line(text: str) -> str:
    """Return the first line of a completion, stripped."""
    return text.partition("\n")[0].strip()
