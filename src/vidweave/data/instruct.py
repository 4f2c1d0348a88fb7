"""Instruction data about images, videos and text, in the forms of Video-ChatGPT and LLaVA.

A conversation is read strictly and never replaced by another: what the original skipped or swapped in silence is an error
with file and entry, or counted.
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


def last_question(conversation: Conversation, family: str = "instruct") -> Example:
    """The last turn of a conversation as an example with an open answer.

    Raises:
        AnnotationError: the conversation has no clip.
    """
    if conversation.clip is None:
        raise AnnotationError(f"{conversation.id} is about no picture or video; only text is left of it")
    query = Query.about(conversation.clip, conversation.turns[-1][0])
    return Example(id=conversation.id, family=family, query=query, truth=conversation.answer)


def read_video_instruct(path: Path | str, media: Path | str) -> list[Conversation]:
    """Question and answer per video: ``[{"q", "a", "video_id"}, …]`` as released by Video-ChatGPT, or by running index.

    Args:
        media: Folder of the videos; a video is its id and one of VIDEO_SUFFIXES.

    Raises:
        MediaNotFoundError: no such file.
        AnnotationError: not this format, or an entry without its fields.
    """
    path, media = Path(path), Path(media)
    data = read_json(path)
    if isinstance(data, list):  # the released file; the object by index is what VideoTGB makes of it
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
    """Conversations in LLaVA's form: a list of ``{"id", "image" | "video", "conversations": [{"from", "value"}, …]}``.

    Markers (``<video>``) are taken out of the turns; templates put them in front. A conversation that the assistant
    begins loses that first turn, as in the original. Ids that repeat, as in files made of Video-ChatGPT's data, whose ids
    are those of the videos, get a running suffix (``v_1``, ``v_1#2``).

    Args:
        media: Folder that paths are relative to.
        text: A further file of conversations without media (recognised there by ``"model"``), appended; their ids get
            the prefix ``text/``, so that they cannot meet others.

    Raises:
        MediaNotFoundError: no such file.
        AnnotationError: not this format; turns that do not alternate or do not end with an answer; a path outside the
            folder.
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
    """The original's offline labels, ``{"<idx>": [start, end], …}``: picture numbers 0..31, or ratios 0..1.

    Raises:
        AnnotationError: not this format, or an end before its start.
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
        raise AnnotationError(f"{where}: 'id' must be a text or a number, got {name!r}")
    kinds = [kind for kind in ("video", "image") if kind in entry]
    if media is None or not kinds:
        if media is not None and "model" not in entry:
            raise AnnotationError(f"{where}: neither 'video' nor 'image' is there, nor the 'model' of a text entry")
        return Conversation(id=f"{prefix}{name}", turns=_turns(turns, where))
    if len(kinds) > 1:
        raise AnnotationError(f"{where}: both 'video' and 'image' are there; one was expected")
    (file,) = expect(entry, where, **{kinds[0]: str})
    path = _inside(media, file, where)
    clip = Clip(path) if kinds[0] == "video" else Clip(image=path)
    return Conversation(id=f"{prefix}{name}", turns=_turns(turns, where), clip=clip)


def _turns(turns: list[Any], where: str) -> tuple[tuple[str, str], ...]:
    said = []
    for number, turn in enumerate(turns):
        role, value = expect(
            _object(turn, f"{where}, turn {number}"), f"{where}, turn {number}", **{"from": str, "value": str}
        )
        said.append((role, _MARKER.sub("", value).strip()))
    if said and said[0][0] == "gpt":
        said = said[1:]
    expected = ["human", "gpt"] * (len(said) // 2)
    if not said or [role for role, _ in said] != expected:
        raise AnnotationError(
            f"{where}: turns must alternate human, gpt and end with gpt, got {', '.join(role for role, _ in said) or 'none'}"
        )
    return tuple(_turn(said[i][1], said[i + 1][1], where) for i in range(0, len(said), 2))


def _turn(question: str, answer: str, where: str) -> tuple[str, str]:
    if not question.strip() or not answer.strip():
        raise AnnotationError(f"{where}: a question or an answer is empty")
    return question.strip(), answer.strip()


def _inside(folder: Path, name: str, where: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise AnnotationError(f"{where}: the file {name!r} lies outside the folder; give a path within it")
    return folder / path


def _video(folder: Path, stem: Path) -> Path:
    """The file of a video id; where none is there yet, the first ending, so that opening it says what is missing."""
    names = [stem.with_name(stem.name + suffix) for suffix in VIDEO_SUFFIXES]
    return next((name for name in names if name.is_file()), names[0])


def _object(entry: Any, where: str) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise AnnotationError(f"{where}: expected an object, got {str(entry)[:40]!r}")
    return entry
