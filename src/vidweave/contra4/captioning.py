"""Stages for media without captions: list the files, then caption each one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from vidweave.contra4.captioners import Captioner
from vidweave.contra4.doctor import check_medium
from vidweave.contra4.media import Media, MediaFolder
from vidweave.contra4.pools import clean_caption
from vidweave.contra4.rows import Row
from vidweave.contra4.schema import SceneRef, check_modality, read_questions
from vidweave.contra4.stage import Wrap
from vidweave.errors import ConfigError, MediaNotFoundError, PipelineError

__all__ = ["Captioning", "MediaFiles", "QuestionMedia"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MediaFiles:
    """Settings of a first stage: list all files in one folder per modality, by name, without captions.

    Attributes:
        folders: Modality → folder; hidden files and folders are skipped.
        source: Prefix of the collection names in the result: images belong to collection ``own_image``, and `id` is
            the file name in its folder, so files with the same name in two folders are different media.
    """

    name: ClassVar[str] = "media"
    scope: ClassVar[str] = "file"
    folders: Mapping[str, str]
    source: str = "own"

    def run_all(self, rows: Iterable[Row]) -> Iterator[Row]:
        for modality, folder in self.folders.items():
            check_modality(modality, f"folder {folder}")
            if not Path(folder).is_dir():
                raise MediaNotFoundError(f"the {modality} folder {folder} does not exist")
            names = sorted(p.name for p in Path(folder).iterdir() if p.is_file() and not p.name.startswith("."))
            if not names:
                raise MediaNotFoundError(f"the {modality} folder {folder} contains no files")
            for name in names:
                yield {"source": f"{self.source}_{modality}", "id": name, "modality": modality, "url": None, "meta": {}}

    def media(self) -> Media:
        """Locate the scenes of these files, for `Captioning` and evaluation."""
        return Media(folders={f"{self.source}_{name}": MediaFolder(path=path) for name, path in self.folders.items()})

    def describe(self) -> dict[str, Any]:
        return {"stage": self.name, "source": self.source, "media": list(self.run_all(()))}


@dataclass(frozen=True, kw_only=True)
class QuestionMedia:
    """Settings of a first stage: list each medium used by the questions of a file once, without its caption.

    The captions generated from it are the input of the caption baseline (``evaluate --mode captions --captions``).

    Attributes:
        file: Questions as JSON or JSON lines, plain or gzip.
        modalities: Only media of these modalities; all if omitted.
    """

    name: ClassVar[str] = "media"
    scope: ClassVar[str] = "file"
    file: str
    modalities: Sequence[str] | None = None

    def run_all(self, rows: Iterable[Row]) -> Iterator[Row]:
        scenes: dict[tuple[str, ...], SceneRef] = {}
        for scene in (scene for question in read_questions(self.file) for scene in question.scenes):
            if self.modalities is None or scene.modality in self.modalities:
                scenes.setdefault((scene.modality, *scene.key), scene)
        for scene in scenes.values():
            facts = {"source": scene.source, "id": scene.id, "modality": scene.modality}
            yield {**facts, "url": scene.url, "meta": dict(scene.meta)}

    def describe(self) -> dict[str, Any]:
        if not Path(self.file).is_file():
            raise MediaNotFoundError(f"there is no file {self.file}")
        digest = sha256(Path(self.file).read_bytes()).hexdigest()
        modalities = None if self.modalities is None else list(self.modalities)
        return {"stage": self.name, "sha256": digest, "modalities": modalities}


@dataclass(frozen=True, kw_only=True)
class Captioning:
    """Settings of the stage.

    Attributes:
        captioners: Modality → captioner; media of other modalities must already have captions.
        media: Locates the files.
        unreadable: Whether a medium that is missing, cannot be decoded or gets no caption (an endpoint may refuse it)
            stops the run or is dropped with a warning.
    """

    name: ClassVar[str] = "captions"
    scope: ClassVar[str] = "rows"
    captioners: Mapping[str, Captioner]
    media: Media
    unreadable: Literal["stop", "drop"] = "stop"

    def run(self, rows: Sequence[Row]) -> list[Row]:
        if self.unreadable == "drop":
            rows = [row for row in rows if self._is_readable(row)]
        captions: dict[int, str] = {}
        for modality, captioner in self.captioners.items():
            places = [i for i, row in enumerate(rows) if row["modality"] == modality]
            texts = captioner.caption([self.media.clip(_scene(rows[i])) for i in places])
            if len(texts) != len(places):
                raise PipelineError(f"the {modality} captioner returned {len(texts)} captions for {len(places)} media")
            captions |= dict(zip(places, texts, strict=True))
        done = (self._captioned(row, captions.get(place)) for place, row in enumerate(rows))
        return [row for row in done if row is not None]

    def _captioned(self, row: Row, text: str | None) -> Row | None:
        if text is None and not row.get("caption"):
            raise ConfigError(f"{row['id']!r} has no caption and there is no captioner for {row['modality']}")
        caption = row["caption"] if text is None else [clean_caption(text)]
        if not caption[0] and self.unreadable == "drop":
            _log.warning("%s %r is skipped: the captioner returned an empty text", row["source"], row["id"])
            return None
        if not caption[0]:
            raise PipelineError(f"the {row['modality']} captioner returned an empty text for {row['id']!r}")
        return {**row, "caption": caption}

    def _is_readable(self, row: Row) -> bool:
        status, why = check_medium(_scene(row), self.media)
        if status in ("missing", "undecodable"):
            _log.warning("%s %r is skipped: %s", row["source"], row["id"], why)
        return status not in ("missing", "undecodable")

    def with_engines(self, wrap: Wrap) -> Self:
        return replace(self, captioners={name: who.with_engines(wrap) for name, who in self.captioners.items()})

    def describe(self) -> dict[str, Any]:
        captioners = {name: captioner.describe() for name, captioner in self.captioners.items()}
        return {"stage": self.name, "captioners": captioners, "unreadable": self.unreadable}


def _scene(row: Row) -> SceneRef:
    return SceneRef(source=row["source"], id=row["id"], modality=row["modality"], caption="")
