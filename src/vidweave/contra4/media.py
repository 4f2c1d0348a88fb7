"""Locate the media of scenes on this machine: a folder and a file name pattern per collection."""

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
    """Layout of a collection.

    Attributes:
        pattern: File name built from ``{id}`` and ``{modality}`` of a scene.
        variables: Environment variables that may name its folder; the first one set wins.
        sources: Prefixes of the ``source`` of its scenes.
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
"""Collections of the released files. The upstream text names OBJAVERSE_FEAT_DIR, its scripts read OBJAVERSE_DIR."""


@dataclass(frozen=True, kw_only=True)
class MediaFolder:
    """Folder of one collection; the default `pattern` for custom collections is ``{id}`` (the file name)."""

    path: str
    pattern: str = "{id}"

    def __post_init__(self) -> None:
        names = {name for _, name, _, _ in Formatter().parse(self.pattern) if name is not None}
        if not names or not names <= {"id", "modality"}:
            raise ConfigError(f"a pattern may contain {{id}} and {{modality}}, got {self.pattern!r}")


@dataclass(frozen=True, kw_only=True)
class Media:
    """Resolve scenes to files. Toyworld scenes need no file: they are rendered.

    Attributes:
        folders: Collection or source name → its folder. Other collections are looked up in the environment.
    """

    folders: Mapping[str, MediaFolder] = field(default_factory=dict)

    @classmethod
    def from_settings(cls, folders: Mapping[str, str]) -> Media:
        """Parse ``{"coco": "/data/coco"}``; ``/data/own|{id}.wav`` sets a pattern too."""
        folders_by_name = {}
        for name, text in folders.items():
            path, _, pattern = text.partition("|")
            default = COLLECTIONS[name].pattern if name in COLLECTIONS else "{id}"
            folders_by_name[name] = MediaFolder(path=path, pattern=pattern or default)
        return cls(folders=folders_by_name)

    def path(self, scene: SceneRef) -> Path:
        """Return the expected path of the medium; the file may not exist.

        Raises:
            UnknownNameError: the folder of the scene's source is not known.
            AnnotationError: an id that points outside the folder.
        """
        folder = self._folder(scene)
        name = folder.pattern.format(id=str(scene.id), modality=scene.modality)
        parts = PurePosixPath(name).parts
        if not parts or PurePosixPath(name).is_absolute() or ".." in parts or "\0" in name:
            raise AnnotationError(f"scene {scene.id!r} of {scene.source} points outside its folder ({name!r})")
        return Path(folder.path) / name

    def clip(self, scene: SceneRef) -> Clip:
        """Return the scene as a clip that names its file; MediaNotFoundError if it does not exist."""
        if scene.source == TOY_SOURCE:
            return toy_clip(scene)
        path = self.path(scene)
        if not path.exists():
            folder = self._folder(scene).path
            if not Path(folder).is_dir():
                raise MediaNotFoundError(f"the folder {folder} for media of {scene.source} does not exist")
            raise MediaNotFoundError(f"the file {path} of scene {scene.id!r} does not exist")
        sources: dict[str, Any] = {scene.clip_modality: str(path)}
        return Clip(**sources)

    def query(self, question: ContrastQuestion) -> Query:
        """Build a query with the scenes as clips and their labels as options."""
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
