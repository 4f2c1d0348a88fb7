"""Conversations in transformers' message form → queries with a history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vidweave.errors import QueryError
from vidweave.registry import MODALITIES
from vidweave.types import Clip, Query, Scene

__all__ = ["query_of"]

SOURCES = ("path", "url")  # besides a key of the modality's own name


def query_of(messages: Sequence[Mapping[str, Any]], options: Sequence[str] = ()) -> Query:
    """Convert a conversation about one clip to a query: its last question, with the turns before it.

    Args:
        messages: ``{"role": "user" | "assistant", "content": text or parts}``, taking turns. Parts are
            ``{"type": "text", "text": …}`` or media, e.g. ``{"type": "video", "path": …}``; "url", or the modality's own
            name as the key, works too.

    Raises:
        QueryError: roles that do not alternate, a last message that is not the user's, an unsupported part,
            two sources of one modality, or none at all.
    """
    sources: dict[str, Any] = {}
    texts = [_text(number, message, sources) for number, message in enumerate(messages)]
    if len(texts) % 2 == 0:
        raise QueryError("a conversation must end with a message of the user, which is then answered")
    if not sources:
        raise QueryError('no message holds a clip; add {"type": "video", "path": …} to the first one')
    history = tuple(zip(texts[:-1:2], texts[1::2], strict=True))
    return Query(texts[-1], (Scene("", Clip(**sources)),), options, history=history)


def _text(number: int, message: Mapping[str, Any], sources: dict[str, Any]) -> str:
    """The text of a message; its media are added to `sources`."""
    expected = ("user", "assistant")[number % 2]
    role = message.get("role") if isinstance(message, Mapping) else None
    if role != expected:
        raise QueryError(f"message {number + 1} must have the role {expected!r}, got {role!r}; roles alternate")
    content = message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, Sequence) or not all(isinstance(part, Mapping) for part in parts):
        raise QueryError(f"the content of message {number + 1} must be a text or a list of parts, got {content!r}")
    texts = []
    for part in parts:
        kind = part.get("type")
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif role == "user" and kind in MODALITIES:
            _add_source(sources, str(kind), part)
        else:
            raise QueryError(
                f"a part of message {number + 1} is not supported: {dict(part)!r}; expected text"
                + (f", or one of {', '.join(MODALITIES)} with its path" if role == "user" else "")
            )
    return " ".join(texts)


def _add_source(sources: dict[str, Any], modality: str, part: Mapping[str, Any]) -> None:
    source = next((part[name] for name in (modality, *SOURCES) if name in part), None)
    if source is None:
        raise QueryError(f'a part of type {modality!r} has no source; give it as "path", "url" or {modality!r}')
    if modality in sources:
        raise QueryError(f"the conversation holds two sources of {modality}; it can be about one clip")
    sources[modality] = source
