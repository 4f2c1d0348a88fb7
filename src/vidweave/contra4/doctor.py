"""What of the media that questions need is missing or cannot be decoded, told before a run instead of in its middle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from vidweave.contra4.media import Media
from vidweave.contra4.schema import ContrastQuestion, SceneRef
from vidweave.errors import InputError, MediaNotFoundError
from vidweave.media import open_clip
from vidweave.types import Clip

__all__ = ["Examined", "Status", "examine", "look"]

Status = Literal["ok", "missing", "undecodable", "no folder"]

_SAMPLE_RATE = 16_000  # decoding is what is tried; the rate does not matter


@dataclass(frozen=True, kw_only=True)
class Examined:
    """One medium.

    Attributes:
        scene: The first scene that shows it.
        status: ``no folder`` is a collection whose folder is not known.
        why: The error; empty if it is fine.
        questions: Ids of the questions that need it.
    """

    scene: SceneRef
    status: Status
    why: str
    questions: tuple[str, ...]


def examine(questions: Sequence[ContrastQuestion], media: Media, *, decode: bool = True) -> Iterator[Examined]:
    """Look at each medium once, in the order of first appearance.

    Args:
        decode: Also decode: all of a sound, point cloud or picture; the first, middle and last picture of a video.
    """
    needed: dict[tuple[str, ...], tuple[SceneRef, list[str]]] = {}
    for question in questions:
        for scene in {scene.key: scene for scene in question.scenes}.values():
            needed.setdefault((scene.modality, *scene.key), (scene, []))[1].append(question.id)
    for scene, ids in needed.values():
        status, why = look(scene, media, decode=decode)
        yield Examined(scene=scene, status=status, why=why, questions=tuple(ids))


def look(scene: SceneRef, media: Media, *, decode: bool = True) -> tuple[Status, str]:
    """What is wrong with the medium of one scene, and the error; `decode` as in `examine`."""
    try:
        clip = media.clip(scene)
    except MediaNotFoundError as error:
        return "missing", str(error)
    except InputError as error:  # no folder, or an id that leads out of it
        return "no folder", str(error)
    try:
        if decode:
            _decode(clip, scene.clip_modality)
    except InputError as error:
        return "undecodable", str(error)
    return "ok", ""


def _decode(clip: Clip, modality: str) -> None:
    with open_clip(clip, modality) as opened:
        if opened.carrier == "frames":
            count = len(opened.timeline()[0])
            opened.read_frames(sorted({0, count // 2, count - 1}))
        elif opened.carrier == "waveform":
            opened.read_waveform(_SAMPLE_RATE)
        elif opened.carrier == "points":
            opened.read_points()
        else:
            opened.read_features()
