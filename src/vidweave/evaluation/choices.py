"""Free text → the option that it chooses, by one rule for all models."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["chosen_option"]

# "A" before a small word is an article ("A man walks"), unless the word says something of a label ("A is louder")
_ABOUT_LABELS = "and|as|because|but|can|does|has|is|or|over|rather|seems|shows|since|than|was|with|would"
_LETTER = rf"(?!I\b)([A-Z])(?!\w)(?!(?<=A) +(?!(?:{_ABOUT_LABELS})\b)[a-z])"
_EXPLICIT = re.compile(r"\b(?:scene|option|choice)\s*[:#(]?\s*([a-z])\b", re.IGNORECASE)
_LEADING = re.compile(rf"\W*{_LETTER}")
_ALONE = re.compile(rf"(?<!\w){_LETTER}")


def chosen_option(text: str, options: Sequence[str]) -> int | None:
    """Position of the option that `text` chooses; None if it chooses none, or one that there is not.

    In this order: the text is an option (case, outer space and a final full stop aside); the first explicit
    ``scene X``, ``option X`` or ``choice X`` in any case; a leading capital letter; the only capital letter that
    stands alone anywhere. Letters count from A.
    """
    said = _plain(text)
    same = [i for i, option in enumerate(options) if _plain(option) == said]
    if same:
        return same[0]
    found = _EXPLICIT.search(text) or _LEADING.match(text)
    letters = {found[1].upper()} if found else set(_ALONE.findall(text))
    position = ord(letters.pop()) - ord("A") if len(letters) == 1 else len(options)
    return position if position < len(options) else None


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).removesuffix(".")
