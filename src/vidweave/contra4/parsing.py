"""Text of a language model → the scene that it names, by the rules of the original code.

The rules differ in what they let pass and stay as they were, defects included, since released data went through them
(an "A" within "Answer" counts, small letters do not). New figures are read by `vidweave.evaluation.choices`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from vidweave.errors import UnknownNameError

__all__ = ["LETTERS", "PARSERS", "Parser", "parse_scene", "scene_name"]

LETTERS = "ABCD"

Parser = Literal["rtc", "filters", "balance", "legacy_caption"]


def scene_name(index: int) -> str:
    """`Scene A` for 0, and so on."""
    return f"Scene {LETTERS[index]}"


def parse_scene(text: str, parser: Parser) -> str:
    """`Scene X` if the rule finds one; else what the rule returns for texts that it cannot read.

    Args:
        parser: `rtc` (verifier output), `filters` (again in the filter stage), `balance` (balancing and fine-tuning;
            unreadable texts become empty), `legacy_caption` (2024, on the whole text). The first three read up to the
            first full stop; all but `balance` return what they cannot read as they read it.

    Raises:
        UnknownNameError: no such parser.
    """
    if parser not in PARSERS:
        raise UnknownNameError("answer parser", parser, PARSERS)
    return PARSERS[parser](text)


def _only_letter(text: str) -> str | None:
    """The scene whose capital letter occurs, if one alone of A to D does, within words too."""
    found = [letter for letter in LETTERS if letter in text]
    return f"Scene {found[0]}" if len(found) == 1 else None


def _named(text: str) -> str | None:
    """The scene that the text begins with; else the only one that it names; else that of the only letter."""
    names = [scene_name(i) for i in range(len(LETTERS))]
    first = [name for name in names if text.startswith(name)]
    found = first or [name for name in names if name in text]
    return found[0] if len(found) == 1 else _only_letter(text)


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
