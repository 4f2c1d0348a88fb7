"""Where the media of scenes lie on this machine: a folder and a file name per collection."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from string import Formatter
from typing import Any

from vidweave.contra4.schema import ContrastQuestion, SceneRef
from vidweave.contra4.toy import TOY_SOURCE, toy_clip
from vidweave.errors import AnnotationError, ConfigError, MediaNotFoundError, UnknownNameError
from vidweave.types import Clip, Query, Scene

__all__ = ["COLLECTIONS", "Collection", "Media", "MediaFolder"]


@dataclass(frozen=True)
class Collection:
    """How a collection is laid out.

    Attributes:
        pattern: File name from ``{id}`` and ``{modality}`` of a scene.
        variables: Environment variables that may name its folder, the first one set wins.
        sources: What scenes of it say in ``source`` begins with one of these.
    """

    pattern: str
    variables: tuple[str, ...]
    sources: tuple[str, ...]


COLLECTIONS: Mapping[str, Collection] = {
    "audiocaps": Collection("{id}.wav", ("AUDIOCAPS_DIR",), ("audiocaps",)),
    "clotho": Collection("{id}", ("CLOTHO_DIR",), ("clotho",)),
    "coco": Collection("{id:0>12}.jpg", ("COCO_DIR",), ("coco",)),
    "msrvtt": Collection("{id}.mp4", ("MSRVTT_DIR",), ("msrvtt",)),
    "objaverse": Collection(
        "{id}_8192.npz", ("OBJAVERSE_DIR", "OBJAVERSE_FEAT_DIR"), ("pointllm", "objaverse", "cap3d")
    ),
}
"""The collections of the released files. The upstream text names OBJAVERSE_FEAT_DIR, its scripts read OBJAVERSE_DIR."""


@dataclass(frozen=True, kw_only=True)
class MediaFolder:
    """A folder of one collection; `pattern` of a collection of your own is ``{id}`` (the file name) if left out."""

    path: str
    pattern: str = "{id}"

    def __post_init__(self) -> None:
        names = {name for _, name, _, _ in Formatter().parse(self.pattern) if name is not None}
        if not names or not names <= {"id", "modality"}:
            raise ConfigError(f"a pattern is made of {{id}} and {{modality}}, got {self.pattern!r}")


@dataclass(frozen=True, kw_only=True)
class Media:
    """Resolves scenes to files. Scenes of the toy world need no file: they are drawn.

    Attributes:
        folders: Collection or source name → its folder. Collections without one are looked up in the environment.
    """

    folders: Mapping[str, MediaFolder] = field(default_factory=dict)

    @classmethod
    def from_settings(cls, folders: Mapping[str, str]) -> Media:
        """From ``{"coco": "/data/coco"}``; ``/data/own|{id}.wav`` gives a pattern too."""
        found = {}
        for name, text in folders.items():
            path, _, pattern = text.partition("|")
            default = COLLECTIONS[name].pattern if name in COLLECTIONS else "{id}"
            found[name] = MediaFolder(path=path, pattern=pattern or default)
        return cls(folders=found)

    def path(self, scene: SceneRef) -> Path:
        """Where the medium should be; it may not be there.

        Raises:
            UnknownNameError: no folder is known for the scene's source.
            AnnotationError: an id that leads out of the folder.
        """
        folder = self._folder(scene)
        name = folder.pattern.format(id=str(scene.id), modality=scene.modality)
        parts = PurePosixPath(name).parts
        if not parts or PurePosixPath(name).is_absolute() or ".." in parts or "\0" in name:
            raise AnnotationError(f"scene {scene.id!r} of {scene.source} leads out of its folder ({name!r})")
        return Path(folder.path) / name

    def clip(self, scene: SceneRef) -> Clip:
        """The scene as a clip that names its file; MediaNotFoundError if there is none."""
        if scene.source == TOY_SOURCE:
            return toy_clip(scene)
        path = self.path(scene)
        if not path.exists():
            folder = self._folder(scene).path
            if not Path(folder).is_dir():
                raise MediaNotFoundError(f"there is no folder {folder} for media of {scene.source}")
            raise MediaNotFoundError(f"there is no {path} for scene {scene.id!r} of {scene.source}")
        sources: dict[str, Any] = {scene.clip_modality: str(path)}
        return Clip(**sources)

    def query(self, question: ContrastQuestion) -> Query:
        """The question with its scenes as clips, and their labels as options."""
        scenes = tuple(Scene(label, self.clip(s)) for label, s in zip(question.labels, question.scenes, strict=True))
        return Query(question.question, scenes, question.labels)

    def _folder(self, scene: SceneRef) -> MediaFolder:
        if scene.source in self.folders:
            return self.folders[scene.source]
        for name, collection in COLLECTIONS.items():
            if scene.source.startswith(collection.sources):
                if name in self.folders:
                    return self.folders[name]
                for variable in collection.variables:
                    if path := os.environ.get(variable):
                        return MediaFolder(path=path, pattern=collection.pattern)
                raise UnknownNameError(
                    "media folder", name, self.folders, f"(give one, or set {' or '.join(collection.variables)})"
                )
        raise UnknownNameError("media folder", scene.source, {*self.folders, *COLLECTIONS}, "(give its folder)")
