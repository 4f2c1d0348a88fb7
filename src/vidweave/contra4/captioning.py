"""Stages for media of your own: find them in folders, and say in words what each shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from vidweave.contra4.pools import clean_caption
from vidweave.contra4.rows import Row
from vidweave.contra4.schema import SceneRef, check_modality
from vidweave.contra4.stage import Wrap
from vidweave.errors import ConfigError, MediaNotFoundError, PipelineError
from vidweave.types import Answerer, Clip, Query

__all__ = ["AnswererCaptioner", "Captioner", "Captioning", "MediaFiles"]

PROMPTS = {
    "image": "Describe the image.",
    "video": "Describe this set of frames. Consider the frames to be a part of the same video.",
    "audio": "Describe the audio.",
    "pc": "Describe the 3D model",
}
"""What the published captioners were asked, per modality."""


class Captioner(Protocol):
    """Anything that says what clips show; `Clip` holds the one modality."""

    def caption(self, clips: Sequence[Clip]) -> list[str]:
        """One text per clip, in order."""
        ...

    def describe(self) -> dict[str, Any]:
        """What decides the texts, as JSON data."""
        ...


@dataclass(frozen=True, kw_only=True)
class AnswererCaptioner:
    """Any model of vidweave as a captioner.

    Attributes:
        model: What answers.
        prompt: What it is asked of each clip.
        batch_size: Clips per call.
    """

    model: Answerer
    prompt: str
    batch_size: int = 16

    def caption(self, clips: Sequence[Clip]) -> list[str]:
        queries = [Query.about(clip, self.prompt) for clip in clips]
        batches = (queries[i : i + self.batch_size] for i in range(0, len(queries), self.batch_size))
        return [answer.text for batch in batches for answer in self.model.answer(batch)]

    def describe(self) -> dict[str, Any]:
        return {"captioner": "answerer", "model": self.model.describe(), "prompt": self.prompt}


@dataclass(frozen=True, kw_only=True)
class MediaFiles:
    """Settings of a first stage: all files of one folder per modality, by name, without captions.

    Attributes:
        folders: Modality → folder; hidden files and folders in it are left out.
        source: Name of the collection in the result; `id` is the file's name in its folder.
    """

    name: ClassVar[str] = "media"
    scope: ClassVar[str] = "file"
    folders: Mapping[str, str]
    source: str = "own"

    def run_all(self, rows: Iterable[Row]) -> Iterator[Row]:
        for modality, folder in self.folders.items():
            check_modality(modality, f"folder {folder}")
            if not Path(folder).is_dir():
                raise MediaNotFoundError(f"there is no folder {folder} for {modality}")
            names = sorted(p.name for p in Path(folder).iterdir() if p.is_file() and not p.name.startswith("."))
            if not names:
                raise MediaNotFoundError(f"the folder {folder} holds no file for {modality}")
            for name in names:
                yield {"source": self.source, "id": name, "modality": modality, "url": None, "meta": {}}

    def describe(self) -> dict[str, Any]:
        return {"stage": self.name, "source": self.source, "media": list(self.run_all(()))}


@dataclass(frozen=True, kw_only=True)
class Captioning:
    """Settings of the stage.

    Attributes:
        captioners: Modality → who says what such a medium shows; others must have captions already.
        folders: Modality → where `MediaFiles` found the files.
    """

    name: ClassVar[str] = "captions"
    scope: ClassVar[str] = "rows"
    captioners: Mapping[str, Captioner]
    folders: Mapping[str, str]

    def run(self, rows: Sequence[Row]) -> list[Row]:
        said: dict[int, str] = {}
        for modality, captioner in self.captioners.items():
            places = [i for i, row in enumerate(rows) if row["modality"] == modality]
            texts = captioner.caption([self._clip(rows[i]) for i in places])
            if len(texts) != len(places):
                raise PipelineError(f"the captioner of {modality} gave {len(texts)} captions for {len(places)} media")
            said |= dict(zip(places, texts, strict=True))
        return [self._captioned(row, said.get(place)) for place, row in enumerate(rows)]

    def _captioned(self, row: Row, text: str | None) -> Row:
        if text is None and not row.get("caption"):
            raise ConfigError(f"no captioner for {row['modality']}, and {row['id']!r} has no caption")
        caption = row["caption"] if text is None else [clean_caption(text)]
        if not caption[0]:
            raise PipelineError(f"the captioner of {row['modality']} said nothing of {row['id']!r}")
        return {**row, "caption": caption}

    def _clip(self, row: Row) -> Clip:
        scene = SceneRef(source=row["source"], id=row["id"], modality=row["modality"], caption="")
        folder = self.folders.get(row["modality"])
        if folder is None:
            raise ConfigError(f"no folder for {row['modality']}; give one in `folders`")
        sources: dict[str, Any] = {scene.clip_modality: str(Path(folder) / str(scene.id))}
        return Clip(**sources)

    def with_engines(self, wrap: Wrap) -> Self:
        return self

    def describe(self) -> dict[str, Any]:
        captioners = {name: captioner.describe() for name, captioner in self.captioners.items()}
        return {"stage": self.name, "captioners": captioners}
