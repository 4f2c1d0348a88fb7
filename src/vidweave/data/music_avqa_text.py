"""Fill the question templates of MUSIC-AVQA: in order, and as in published code."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vidweave.errors import AnnotationError

__all__ = ["fill_as_crema", "fill_in_order", "question_tokens"]

_PLACEHOLDER = re.compile(r"<[^<>]*>")


def fill_in_order(template: str, values: Sequence[str]) -> str:
    """Fill the placeholders with the values from left to right: "Is the <Object> louder than the <Object>?".

    Surrounding whitespace, which two templates have, is removed.

    Raises:
        AnnotationError: The numbers of values and placeholders differ.
    """
    _check(template, values)
    filled = iter(values)
    return _PLACEHOLDER.sub(lambda _: str(next(filled)), template).strip()


def fill_as_crema(template: str, values: Sequence[str]) -> str:
    """Fill a template as in CREMA's released reader, only for comparison with its checkpoints and numbers.

    Each value replaces *all* placeholders of the same name, so that all get the first value: "Is the violin louder than the
    violin?". This destroys a quarter of the test questions, and nearly all comparative ones.

    Raises:
        AnnotationError: The numbers of values and placeholders differ.
    """
    _check(template, values)
    for name, value in zip(_PLACEHOLDER.findall(template), values, strict=True):
        template = template.replace(name, str(value))
    return template


def question_tokens(template: str, values: Sequence[str]) -> list[str]:
    """Split a question into words as in the data set's own loader, which uses a word vocabulary.

    The last character, a question mark, is removed. A word that contains a placeholder is replaced by the value.

    Raises:
        AnnotationError: There are fewer values than words with a placeholder.
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
            "expected equal numbers"
        )
