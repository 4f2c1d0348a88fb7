"""Parse the scene named in a language model's text, by the rules of the original code.

The rules differ in leniency and are kept as they were, defects included, since the released data were made with them
(an "A" within "Answer" counts, lowercase letters do not). New results use `vidweave.evaluation.choices`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from vidweave.errors import UnknownNameError

__all__ = ["LETTERS", "PARSERS", "Parser", "parse_scene", "scene_name"]

LETTERS = "ABCD"

Parser = Literal["rtc", "filters", "balance", "legacy_caption"]


def scene_name(index: int) -> str:
    """Return `Scene A` for 0, and so on."""
    return f"Scene {LETTERS[index]}"


def parse_scene(text: str, parser: Parser) -> str:
    """Return `Scene X` if the rule finds one, else the rule's result for unreadable texts.

    Args:
        parser: `rtc` (verifier output), `filters` (again in the filter stage), `balance` (balancing and fine-tuning;
            unreadable texts become empty), `legacy_caption` (2024, on the whole text). The first three read up to the
            first period; all but `balance` return unreadable text unchanged.

    Raises:
        UnknownNameError: unknown parser.
    """
    if parser not in PARSERS:
        raise UnknownNameError("answer parser", parser, PARSERS)
    return PARSERS[parser](text)


def _only_letter(text: str) -> str | None:
    """Return the scene whose capital letter occurs, also within words, if exactly one of A to D does."""
    letters = [letter for letter in LETTERS if letter in text]
    return f"Scene {letters[0]}" if len(letters) == 1 else None


def _named(text: str) -> str | None:
    """Return the scene at the start of the text, else the only scene named, else the scene of the only letter."""
    names = [scene_name(i) for i in range(len(LETTERS))]
    first = [name for name in names if text.startswith(name)]
    matches = first or [name for name in names if name in text]
    return matches[0] if len(matches) == 1 else _only_letter(text)


def _sentence(text: str) -> str:
    return text.split(".")[0]


def _rtc(text: str) -> str:
    return _only_letter(_sentence(text)) or _sentence(text)


def _filters(text: str) -> str:
    text = _sentence(text).replace("Answer", "")
    return _named(text) or text


def _balance(text: str) -> str:
    return _named(_sentence(text)) or ""


def _legacy_caption(text: str) -> str:
    return _only_letter(text) or text


PARSERS: dict[Parser, Callable[[str], str]] = {
    "rtc": _rtc,
    "filters": _filters,
    "balance": _balance,
    "legacy_caption": _legacy_caption,
}
