"""Rows of a file of one's own, whatever its form: our fields, or a conversation of LLaVA or ms-swift."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from vidweave.data.dataset import Row

__all__ = ["answers_of", "check_inside", "fields_of", "options_of"]

_MARKER = re.compile(r"<(image|video|audio|thermal|depth)>")
_ROLES = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant", "system": "system"}
_SEPARATOR = "|"  # of the options in a cell of a table
_PLURALS = {"videos": "video", "images": "image", "audios": "audio"}


def fields_of(row: Row) -> dict[str, Any]:
    """A row in our fields; the last question of a conversation is the one that is asked, and its answer the answer.

    Raises:
        ValueError: turns that do not alternate, or several media of one kind.
    """
    fields = {key: value for key, value in row.items() if value not in ("", None)}
    turns = fields.pop("conversations", None) or fields.pop("messages", None)
    fields = {_PLURALS.get(key, key): _single(key, value) for key, value in fields.items()}
    if turns is None:
        return fields
    said = [(_ROLES.get(str(_value(turn, "from", "role")), "?"), _text(turn)) for turn in turns]
    said = [(role, text) for role, text in said if role != "system"]
    if said and said[0][0] == "assistant":
        said = said[1:]
    expected = ["user", "assistant"] * ((len(said) + 1) // 2)
    if not said or [role for role, _ in said] != expected[: len(said)]:
        raise ValueError(f"turns must alternate, got {', '.join(role for role, _ in said) or 'none'}")
    answer = {"answer": said[-1][1]} if said[-1][0] == "assistant" else {}
    question = said[-2][1] if answer else said[-1][1]
    kept = {key: value for key, value in fields.items() if key not in ("model", "system", "objects")}
    return {**kept, "question": question, **answer}


def options_of(given: Any) -> tuple[str, ...]:
    """Options as texts: a list, or the parts of a cell between "|"."""
    if isinstance(given, str):
        return tuple(part.strip() for part in given.split(_SEPARATOR))
    return tuple(given)


def answers_of(given: Any, options: Sequence[str]) -> tuple[tuple[str, ...], int | None]:
    """Accepted answers as texts, and the position of the first among the options.

    An answer is an option's text or its position (from 0), or a list of these; without options it is a text or a number.

    Raises:
        ValueError: no answer, or a position that no option has.
    """
    listed = list(given) if isinstance(given, (list, tuple)) else [given]
    if not listed:
        raise ValueError("the list of answers is empty; leave the answer out if there is none")
    found = [_answer(value, options) for value in listed]
    return tuple(text for text, _ in found), found[0][1]


def _answer(value: Any, options: Sequence[str]) -> tuple[str, int | None]:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"an answer is a text or a position, got {value!r}")
    if not options or (isinstance(value, str) and value in options):
        return str(value), None
    text = str(value).strip()
    if not text.isdigit():
        return str(value), None  # what is no option is refused with the options beside it
    if int(text) >= len(options):
        raise ValueError(f"the answer {text} is neither an option nor a position from 0 to {len(options) - 1}")
    return options[int(text)], int(text)


def _single(key: str, value: Any) -> Any:
    if key not in _PLURALS:
        return value
    if not isinstance(value, (list, tuple)) or len(value) != 1:
        raise ValueError(f"{key} must hold one file, got {value!r}")
    return value[0]


def _value(turn: Any, *names: str) -> Any:
    if not isinstance(turn, Mapping):
        raise ValueError(f"a turn must be an object, got {turn!r}")
    return next((turn[name] for name in names if name in turn), None)


def _text(turn: Any) -> str:
    text = _value(turn, "value", "content")
    if not isinstance(text, str):
        raise ValueError(f"a turn must hold a text, got {text!r}")
    return _MARKER.sub("", text).strip()


def check_inside(file: str) -> None:
    """Refuse a path that leads out of the media folder; ValueError."""
    if not isinstance(file, str) or PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
        raise ValueError(f"the file {file!r} lies outside the folder; give a path within it")
