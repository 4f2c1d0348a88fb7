"""Fill the question templates of MUSIC-AVQA: in order, and as published code does."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vidweave.errors import AnnotationError

__all__ = ["fill_as_crema", "fill_in_order", "question_tokens"]

_PLACEHOLDER = re.compile(r"<[^<>]*>")


def fill_in_order(template: str, values: Sequence[str]) -> str:
    """Put the values into the placeholders from left to right: "Is the <Object> louder than the <Object>?".

    Outer space, which two templates have, is removed.

    Raises:
        AnnotationError: another number of values than of placeholders.
    """
    _check(template, values)
    filled = iter(values)
    return _PLACEHOLDER.sub(lambda _: str(next(filled)), template).strip()


def fill_as_crema(template: str, values: Sequence[str]) -> str:
    """Fill a template as CREMA's released reader does, for comparison with its checkpoints and numbers only.

    Each value replaces *all* placeholders of one name, so that both get the first value: "Is the violin louder than the
    violin?". This destroys a quarter of the test questions, and nearly all comparative ones.

    Raises:
        AnnotationError: another number of values than of placeholders.
    """
    _check(template, values)
    for name, value in zip(_PLACEHOLDER.findall(template), values, strict=True):
        template = template.replace(name, str(value))
    return template


def question_tokens(template: str, values: Sequence[str]) -> list[str]:
    """Split a question into words as the data set's own loader does, which feeds a vocabulary of words.

    The last character, a question mark, is cut off. A word that holds a placeholder becomes the value as a whole.

    Raises:
        AnnotationError: fewer values than words with a placeholder.
    """
    words = template.rstrip().split(" ")
    words[-1] = words[-1][:-1]
    if sum("<" in word for word in words) > len(values):
        _check(template, values)
    filled = iter(values)
    return [str(next(filled)) if "<" in word else word for word in words]


def _check(template: str, values: Sequence[str]) -> None:
    count = len(_PLACEHOLDER.findall(template))
    if count != len(values):
        raise AnnotationError(
            f"MUSIC-AVQA question {template!r} has {count} placeholders and {len(values)} values (templ_values), "
            "expected as many"
        )
