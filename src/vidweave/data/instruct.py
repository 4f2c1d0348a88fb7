"""Instruction data about images, videos and text, in the formats of Video-ChatGPT and LLaVA.

Conversations are read strictly and never replaced by others: entries that the original silently skipped or replaced raise
an error with file and entry, or are counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from vidweave.data.jsonl import expect, read_json
from vidweave.data.schema import Example
from vidweave.errors import AnnotationError
from vidweave.types import Clip, Conversation, Query

__all__ = ["last_question", "read_instruct", "read_pseudo_spans", "read_video_instruct"]

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")
_MARKER = re.compile(r"<(image|video|audio|thermal|depth)>")


def last_question(conversation: Conversation, question_type: str = "instruct") -> Example:
    """Convert the last turn of a conversation to an example with an open answer.

    Raises:
        AnnotationError: The conversation has no clip.
    """
    if conversation.clip is None:
        raise AnnotationError(f"{conversation.id} has no image or video, only text")
    query = Query.about(conversation.clip, conversation.turns[-1][0])
    return Example(id=conversation.id, question_type=question_type, query=query, answer=conversation.answer)


def read_video_instruct(path: Path | str, media: Path | str) -> list[Conversation]:
    """Read questions and answers: ``[{"q", "a", "video_id"}, …]`` as released by Video-ChatGPT, or keyed by index.

    Args:
        media: Folder of the videos; a file name is the video id and one of VIDEO_SUFFIXES.

    Raises:
        MediaNotFoundError: The file does not exist.
        AnnotationError: The file has another format, or an entry lacks fields.
    """
    path, media = Path(path), Path(media)
    data = read_json(path)
    if isinstance(data, list):  # the released file; VideoTGB converts it to an object keyed by index
        data = dict(enumerate(data))
    if not isinstance(data, dict):
        raise AnnotationError(f"{path}: expected a list or an object of entries by index, got {type(data).__name__}")
    items = []
    for index, entry in data.items():
        where = f"{path}: entry {index!r}"
        question, answer, video = expect(_object(entry, where), where, q=str, a=str, video_id=str)
        clip = Clip(_video(media, _inside(media, video, where)))
        items.append(Conversation(id=str(index), turns=(_turn(question, answer, where),), clip=clip))
    return items


def read_instruct(path: Path | str, media: Path | str, *, text: Path | str | None = None) -> list[Conversation]:
    """Read conversations in LLaVA's format: a list of ``{"id", "image" | "video", "conversations": [{"from", "value"}, …]}``.

    Markers (``<video>``) are removed from the turns; templates prepend them. If the assistant speaks first, that turn is
    dropped, as in the original. Repeated ids, as in files made from Video-ChatGPT's data, whose ids are video ids, get a
    numeric suffix (``v_1``, ``v_1#2``).

    Args:
        media: Folder that paths are relative to.
        text: Another file of text-only conversations (marked by ``"model"``), appended; their ids get the prefix
            ``text/`` to avoid collisions.

    Raises:
        MediaNotFoundError: The file does not exist.
        AnnotationError: The file has another format, turns do not alternate or do not end with an answer, or a path is
            outside the folder.
    """
    items = [_conversation(entry, where, Path(media)) for entry, where in _entries(Path(path))]
    if text is not None:
        items += [_conversation(entry, where, None, prefix="text/") for entry, where in _entries(Path(text))]
    seen: Counter[str] = Counter()
    unique = []
    for item in items:
        seen[item.id] += 1
        number = seen[item.id]
        unique.append(item if number == 1 else replace(item, id=f"{item.id}#{number}"))
    return unique


def read_pseudo_spans(path: Path | str) -> dict[str, tuple[float, float]]:
    """Read the original's offline labels, ``{"<idx>": [start, end], …}``: frame indices 0..31, or fractions 0..1.

    Raises:
        AnnotationError: The file has another format, or an end is before its start.
    """
    path = Path(path)
    data = read_json(path)
    if not isinstance(data, dict):
        raise AnnotationError(f"{path}: expected an object of spans by index, got {type(data).__name__}")
    spans = {}
    for index, span in data.items():
        numbers = isinstance(span, list) and len(span) == 2 and all(isinstance(n, (int, float)) for n in span)
        if not numbers or span[0] < 0 or span[1] < span[0]:
            raise AnnotationError(f"{path}: entry {index!r} must be [start, end] with start <= end, got {span!r}")
        spans[str(index)] = (float(span[0]), float(span[1]))
    return spans


# ---- entries


def _entries(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    data = read_json(path)
    if not isinstance(data, list):
        raise AnnotationError(f"{path}: expected a list of conversations, got {type(data).__name__}")
    for number, entry in enumerate(data):
        where = f"{path}: entry {number}"
        yield _object(entry, where), where


def _conversation(entry: dict[str, Any], where: str, media: Path | None, prefix: str = "") -> Conversation:
    (turns,) = expect(entry, where, conversations=list)
    name = entry.get("id", entry.get("idx"))
    if not isinstance(name, (str, int)):
        raise AnnotationError(f"{where}: 'id' must be a string or a number, got {name!r}")
    kinds = [kind for kind in ("video", "image") if kind in entry]
    if media is None or not kinds:
        if media is not None and "model" not in entry:
            raise AnnotationError(f"{where}: expected 'video', 'image', or the 'model' of a text entry")
        return Conversation(id=f"{prefix}{name}", turns=_turns(turns, where))
    if len(kinds) > 1:
        raise AnnotationError(f"{where}: expected either 'video' or 'image', got both")
    (file,) = expect(entry, where, **{kinds[0]: str})
    path = _inside(media, file, where)
    clip = Clip(path) if kinds[0] == "video" else Clip(image=path)
    return Conversation(id=f"{prefix}{name}", turns=_turns(turns, where), clip=clip)


def _turns(turns: list[Any], where: str) -> tuple[tuple[str, str], ...]:
    messages = []
    for number, turn in enumerate(turns):
        role, value = expect(
            _object(turn, f"{where}, turn {number}"), f"{where}, turn {number}", **{"from": str, "value": str}
        )
        messages.append((role, _MARKER.sub("", value).strip()))
    if messages and messages[0][0] == "gpt":
        messages = messages[1:]
    expected = ["human", "gpt"] * (len(messages) // 2)
    if not messages or [role for role, _ in messages] != expected:
        raise AnnotationError(
            f"{where}: turns must alternate human, gpt and end with gpt, got {', '.join(role for role, _ in messages) or 'none'}"
        )
    return tuple(_turn(messages[i][1], messages[i + 1][1], where) for i in range(0, len(messages), 2))


def _turn(question: str, answer: str, where: str) -> tuple[str, str]:
    if not question.strip() or not answer.strip():
        raise AnnotationError(f"{where}: a question or an answer is empty")
    return question.strip(), answer.strip()


def _inside(folder: Path, name: str, where: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise AnnotationError(f"{where}: the file {name!r} is outside the folder; give a path inside it")
    return folder / path


def _video(folder: Path, stem: Path) -> Path:
    """Find the file of a video id; if none exists, use the first suffix, so that opening it names the missing file."""
    names = [stem.with_name(stem.name + suffix) for suffix in VIDEO_SUFFIXES]
    return next((name for name in names if name.is_file()), names[0])


def _object(entry: Any, where: str) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise AnnotationError(f"{where}: expected an object, got {str(entry)[:40]!r}")
    return entry
