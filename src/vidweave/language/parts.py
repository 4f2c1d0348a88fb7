"""Parts of a prompt template: plain values, checked on creation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from string import Formatter
from typing import ClassVar, Literal

from vidweave.errors import ConfigError

__all__ = ["TEXT_FIELDS", "EachSegment", "EachScene", "Part", "Slot", "Special", "Text", "When", "fields_of", "walk"]

TEXT_FIELDS = {"question", "options", "labels", "label", "index"}


def fields_of(template: str, known: set[str], what: str) -> set[str]:
    """Return the names in braces of `template`; ConfigError for an unknown one, or one with an index or format."""
    result = set()
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(f"{what} {template!r} is no template: {error}; write a brace as '{{{{'") from None
    for _, name, spec, conversion in parsed:
        if name is None:
            continue
        if name not in known or spec or conversion:
            raise ConfigError(f"{what} {template!r} has the field {{{name}}}; known: {', '.join(sorted(known))}")
        result.add(name)
    return result


@dataclass(frozen=True, kw_only=True)
class Text:
    """Text, tokenized as one string without special tokens.

    Attributes:
        text: May contain {question}, {options}, {labels} (all scene labels), {label} (inside `EachScene`) and {index}
            (from 1, inside `EachSegment`). A special token that is spelled out here is tokenized as such.
        max_tokens: Maximum length of this text; None is unbounded. See `on_overflow` of the layout for longer ones.
        cut: Part to drop then: tokens on the `left` or the `right`, or words at the end of the `question`.
    """

    kind: ClassVar[str] = "text"
    text: str
    max_tokens: int | None = None
    cut: Literal["left", "right", "question"] = "right"

    def __post_init__(self) -> None:
        used = fields_of(self.text, TEXT_FIELDS, "prompt text")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ConfigError(f"max_tokens must be at least 1, got {self.max_tokens}")
        if self.cut == "question" and "question" not in used:
            raise ConfigError(f"cut='question' needs the field {{question}}, but the text is {self.text!r}")


@dataclass(frozen=True, kw_only=True)
class Special:
    """One special token of the tokenizer; `if_any` skips it where the tokenizer has none (Qwen has no bos)."""

    kind: ClassVar[str] = "special"
    token: Literal["bos", "eos", "sep", "cls"]
    if_any: bool = False


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Tokens of a block: of the current segment inside `EachSegment`, else of all segments in temporal order.

    `optional` skips it for items without this block.
    """

    kind: ClassVar[str] = "slot"
    block: str
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class EachSegment:
    """Repeat `parts` for each segment of `block`; `single`, if given, replaces them if there is only one segment."""

    kind: ClassVar[str] = "each_group"
    block: str
    parts: tuple[Part, ...]
    single: tuple[Part, ...] | None = None
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class EachScene:
    """Repeat `parts` for each scene of the query; `first`, if given, replaces them for the first scene."""

    kind: ClassVar[str] = "each_scene"
    parts: tuple[Part, ...]
    first: tuple[Part, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class When:
    """Write `parts` if the scene has every block of `present` and none of `absent`, else `otherwise`.

    Outside `EachScene` a block counts as present if any scene of the query has it.
    """

    kind: ClassVar[str] = "when"
    parts: tuple[Part, ...]
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    otherwise: tuple[Part, ...] = ()


Part = Text | Special | Slot | EachSegment | EachScene | When


def walk(parts: tuple[Part, ...], inside: frozenset[str] = frozenset()) -> Iterator[tuple[Part, frozenset[str]]]:
    """Yield every part at any depth, with the kinds of loops around it."""
    for part in parts:
        yield part, inside
        loop = {part.kind} if isinstance(part, (EachSegment, EachScene)) else set()
        for inner in _nested(part):
            yield from walk(inner, inside | loop)


def _nested(part: Part) -> tuple[tuple[Part, ...], ...]:
    """Return the parts inside a part: the usual ones, and the alternatives."""
    if isinstance(part, EachSegment):
        return part.parts, part.single or ()
    if isinstance(part, EachScene):
        return part.parts, part.first or ()
    return (part.parts, part.otherwise) if isinstance(part, When) else ()
