"""Check for missing or undecodable media before a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from vidweave.contra4.media import Media
from vidweave.contra4.schema import ContrastQuestion, SceneRef
from vidweave.errors import InputError, MediaNotFoundError
from vidweave.media import open_clip
from vidweave.types import Clip

__all__ = ["Examined", "Status", "examine", "check_medium"]

Status = Literal["ok", "missing", "undecodable", "no folder"]

_SAMPLE_RATE = 16_000  # only tests whether decoding works; the rate does not matter


@dataclass(frozen=True, kw_only=True)
class Examined:
    """Result for one medium.

    Attributes:
        scene: The first scene that uses it.
        status: ``no folder`` means that the folder of the collection is not known.
        why: The error message; empty if the medium is fine.
        questions: Ids of the questions that need it.
    """

    scene: SceneRef
    status: Status
    why: str
    questions: tuple[str, ...]


def examine(questions: Sequence[ContrastQuestion], media: Media, *, decode: bool = True) -> Iterator[Examined]:
    """Check each medium once, in the order of first appearance.

    Args:
        decode: Also decode it: a whole audio file, point cloud or image; the first, middle and last frame of a video.
    """
    needed: dict[tuple[str, ...], tuple[SceneRef, list[str]]] = {}
    for question in questions:
        for scene in {scene.key: scene for scene in question.scenes}.values():
            needed.setdefault((scene.modality, *scene.key), (scene, []))[1].append(question.id)
    for scene, ids in needed.values():
        status, why = check_medium(scene, media, decode=decode)
        yield Examined(scene=scene, status=status, why=why, questions=tuple(ids))


def check_medium(scene: SceneRef, media: Media, *, decode: bool = True) -> tuple[Status, str]:
    """Return status and error of the medium of one scene; `decode` as in `examine`."""
    try:
        clip = media.clip(scene)
    except MediaNotFoundError as error:
        return "missing", str(error)
    except InputError as error:  # unknown folder, or an id that points outside of it
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
