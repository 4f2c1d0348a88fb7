"""Rows of your own files: vidweave's fields, or conversations of LLaVA or ms-swift."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from vidweave.data.dataset import Row

__all__ = ["answers_of", "check_inside", "fields_of", "options_of"]

_MARKER = re.compile(r"<(image|video|audio|thermal|depth)>")
_ROLES = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant", "system": "system"}
_SEPARATOR = "|"  # between the options in a table cell
_PLURALS = {"videos": "video", "images": "image", "audios": "audio"}


def fields_of(row: Row) -> dict[str, Any]:
    """Convert a row to vidweave's fields; of a conversation, use the last question and its answer.

    Raises:
        ValueError: Turns do not alternate, or there are several media of one kind.
    """
    fields = {key: value for key, value in row.items() if value not in ("", None)}
    turns = fields.pop("conversations", None) or fields.pop("messages", None)
    fields = {_PLURALS.get(key, key): _single(key, value) for key, value in fields.items()}
    if turns is None:
        return fields
    messages = [(_ROLES.get(str(_value(turn, "from", "role")), "?"), _text(turn)) for turn in turns]
    messages = [(role, text) for role, text in messages if role != "system"]
    if messages and messages[0][0] == "assistant":
        messages = messages[1:]
    expected = ["user", "assistant"] * ((len(messages) + 1) // 2)
    if not messages or [role for role, _ in messages] != expected[: len(messages)]:
        raise ValueError(f"turns must alternate, got {', '.join(role for role, _ in messages) or 'none'}")
    answer = {"answer": messages[-1][1]} if messages[-1][0] == "assistant" else {}
    question = messages[-2][1] if answer else messages[-1][1]
    kept = {key: value for key, value in fields.items() if key not in ("model", "system", "objects")}
    return {**kept, "question": question, **answer}


def options_of(given: Any) -> tuple[str, ...]:
    """Return the options as strings: a list, or the parts of a cell between "|"."""
    if isinstance(given, str):
        return tuple(part.strip() for part in given.split(_SEPARATOR))
    return tuple(given)


def answers_of(given: Any, options: Sequence[str]) -> tuple[tuple[str, ...], int | None]:
    """Return the accepted answers as strings, and the index of the first one among the options.

    An answer is an option's text or its index (from 0), or a list of these; without options, a string or a number.

    Raises:
        ValueError: There is no answer, or an index is out of range.
    """
    listed = list(given) if isinstance(given, (list, tuple)) else [given]
    if not listed:
        raise ValueError("the list of answers is empty; omit the field if there is no answer")
    answers = [_answer(value, options) for value in listed]
    return tuple(text for text, _ in answers), answers[0][1]


def _answer(value: Any, options: Sequence[str]) -> tuple[str, int | None]:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"an answer must be a string or an index, got {value!r}")
    if not options or (isinstance(value, str) and value in options):
        return str(value), None
    text = str(value).strip()
    if not text.isdigit():
        return str(value), None  # `Example` refuses it and lists the options
    if int(text) >= len(options):
        raise ValueError(f"the answer {text} is neither an option nor an index from 0 to {len(options) - 1}")
    return options[int(text)], int(text)


def _single(key: str, value: Any) -> Any:
    if key not in _PLURALS:
        return value
    if not isinstance(value, (list, tuple)) or len(value) != 1:
        raise ValueError(f"{key} must contain one file, got {value!r}")
    return value[0]


def _value(turn: Any, *names: str) -> Any:
    if not isinstance(turn, Mapping):
        raise ValueError(f"a turn must be an object, got {turn!r}")
    return next((turn[name] for name in names if name in turn), None)


def _text(turn: Any) -> str:
    text = _value(turn, "value", "content")
    if not isinstance(text, str):
        raise ValueError(f"a turn must contain a string, got {text!r}")
    return _MARKER.sub("", text).strip()


def check_inside(file: str) -> None:
    """Check that a path is inside the media folder; raises ValueError."""
    if not isinstance(file, str) or PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
        raise ValueError(f"the file {file!r} is outside the folder; give a path inside it")
