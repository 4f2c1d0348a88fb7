"""Data sets read from annotation files: rows become examples, whose media are found when an example is taken.

A reader is a subclass of `Dataset`: the settings are its fields, `parse` turns a row into an example, and `layout` says
where media of each modality lie below the root folders.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

from vidweave.data.jsonl import read_rows
from vidweave.data.schema import Example
from vidweave.errors import AnnotationError, ConfigError
from vidweave.media.frames import FOLDER_TIMING
from vidweave.media.open import open_source
from vidweave.types import Clip

__all__ = ["VIDEO_SUFFIXES", "Dataset", "Row"]

Row = Mapping[str, Any]
"""An object of an annotation file."""

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")


@dataclass(frozen=True, kw_only=True)
class Dataset(Sequence[Example]):
    """Examples of an annotation file.

    The file is read, and every row checked, when the first example or id is asked for; an example's media are looked for
    when it is taken. Ids that repeat get a running suffix (``7``, ``7#2``), and `notes` says so.

    Attributes:
        data: The annotation file.
        media: Folders that hold the media; the first that has a file counts.
        modalities: Modalities of the clips; a clip has each of them whose file is there. Empty: the first that
            the set has (video, where it has video), since a model refuses what it does not use.
        missing: What to do with an example none of whose media are there: `refuse` raises, `leave_out` drops and counts it.
    """

    name: ClassVar[str]
    layout: ClassVar[Mapping[str, tuple[str, ...]]]
    """Modality → places of its files, tried in order: ``{root}`` is a root folder, ``{name}`` the recording."""
    has_frame_fractions: ClassVar[bool] = False
    """Whether spans of a folder of frames are fractions of it (of a video file, they are seconds)."""
    folder_fps: ClassVar[float | None] = None
    """Frame rate of the published folders of frames, which hold no times; None reads them by the default rate."""

    data: Path
    media: tuple[Path, ...] = ()
    modalities: tuple[str, ...] = ()
    missing: Literal["refuse", "leave_out"] = "refuse"

    @classmethod
    @abstractmethod
    def parse(cls, row: Row) -> Example:
        """The example of a row, about a recording by name (`data.schema.named`).

        A KeyError, IndexError, TypeError or ValueError becomes an AnnotationError with the row's place.
        """

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Rows of the annotation file with their places, for messages."""
        return read_rows(Path(self.data))

    @classmethod
    def read(cls, row: Row, where: str = "the annotation") -> Example:
        """The example of a row; its media are not looked for.

        Raises:
            AnnotationError: a field is missing or holds what it must not; names `where`.
        """
        try:
            return cls.parse(row)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            what = f"lacks {error}" if isinstance(error, KeyError) else f"cannot be read ({error})"
            raise AnnotationError(f"{where}, {what}; see the format of {cls.name} in docs/datasets.md") from error

    # ---- the sequence

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, index: int) -> Example:  # type: ignore[override]  # no slices: examples are made one by one
        example = self.annotations[index]
        clip = self.clip(example)
        if clip is None:
            roots = ", ".join(map(str, self.media)) or "no folder (give media=FOLDER)"
            wanted = ", ".join(self._modalities)
            raise AnnotationError(f"{self.name} {example.id}: no file of {wanted} for {example.media!r} in {roots}")
        return example.about(clip)

    @property
    def ids(self) -> list[str]:
        """Ids of all examples, in order."""
        return [example.id for example in self.annotations]

    @cached_property
    def annotations(self) -> tuple[Example, ...]:
        """All examples, about recordings by name, before any media are found."""
        if self.missing == "refuse":
            return self._rows_read
        return tuple(example for example in self._rows_read if self.sources(example))

    @property
    def all_annotations(self) -> tuple[Example, ...]:
        """All examples, with those that are left out because their media are missing."""
        return self._rows_read

    def require_media(self) -> None:
        """Check that every example has media before any work is done; does nothing where missing ones are left out.

        Raises:
            AnnotationError: names the number of examples without media, the first one, and where its file was expected.
        """
        if self.missing == "leave_out":
            if not self.annotations:
                raise AnnotationError(
                    f"{self.name}: none of {len(self._rows_read)} examples has media{self._searched()}"
                )
            return
        without = [example for example in self._rows_read if not self.sources(example)]
        if without:
            raise AnnotationError(
                f"{self.name}: {len(without)} of {len(self._rows_read)} examples have no media, the first is "
                f"{without[0].id}: no file of {', '.join(self._modalities)} for {without[0].media!r}{self._searched()}; "
                "check media=FOLDER, or ask the others alone with missing=leave_out"
            )

    def _searched(self) -> str:
        roots = ", ".join(map(str, self.media)) or "no folder (give media=FOLDER)"
        modality = self._modalities[0]
        places = [place.format(root="FOLDER", name="NAME", stem="NAME") for place in self.layout.get(modality, ())]
        return f" in {roots}" + (f" (looked for {', '.join(places[:4])})" if places else "")

    @property
    def notes(self) -> list[str]:
        """Lines about what is left out or changed, if anything is."""
        left_out = len(self._rows_read) - len(self.annotations)
        repeated = sum("#" in e.id and e.id.rpartition("#")[2].isdigit() for e in self._rows_read)
        unlabeled = sum(not example.is_labeled for example in self._rows_read)
        return [
            *(
                [f"{unlabeled} of {len(self._rows_read)} examples have no answer: they are asked, but not scored"]
                * (unlabeled > 0)
            ),
            *(
                [f"{left_out} of {len(self._rows_read)} examples are left out: their media are missing"]
                * (left_out > 0)
            ),
            *([f"{repeated} ids repeat in {Path(self.data).name} and got a suffix"] * (repeated > 0)),
        ]

    @cached_property
    def _rows_read(self) -> tuple[Example, ...]:
        seen: Counter[str] = Counter()
        examples = []
        for where, row in self.rows():
            example = self.read(row, where)
            _check_name(example.media, where)
            seen[example.id] += 1
            number = seen[example.id]
            examples.append(example if number == 1 else replace(example, id=f"{example.id}#{number}"))
        if not examples:
            raise AnnotationError(f"{self.data} holds no rows")
        return tuple(examples)

    # ---- media

    @property
    def _modalities(self) -> tuple[str, ...]:
        unknown = [name for name in self.modalities if name not in self.layout]
        if unknown and len(unknown) == len(self.modalities):
            raise ConfigError(f"{self.name} has no {', '.join(unknown)}; it has {', '.join(self.layout)}")
        return self.modalities or tuple(self.layout)[:1]

    def clip(self, example: Example) -> Clip | None:
        """The clip of an example with each modality whose files are there; None if there are none at all."""
        sources = self.sources(example)
        if not sources:
            return None
        if example.span is None:
            return Clip(**sources, fps=self._fps(sources))
        start, end = self._seconds(example, sources.get("video"))
        return Clip(**sources, start_seconds=start, end_seconds=end, fps=self._fps(sources))

    def sources(self, example: Example) -> dict[str, Any]:
        """Modality → source, of each modality of an example that is there."""
        found = {modality: self._source_once(modality, example.media) for modality in self._modalities}
        return {modality: source for modality, source in found.items() if source is not None}

    def _source_once(self, modality: str, name: str) -> Any:
        """`source`, looked up once for all questions about a recording (a missing one is looked for again)."""
        if (found := self._found.get((modality, name))) is None and (found := self.source(modality, name)) is not None:
            self._found[modality, name] = found
        return found

    @cached_property
    def _found(self) -> dict[tuple[str, str], Any]:
        return {}

    def source(self, modality: str, name: str) -> Any:
        """Source of one modality of the recording `name`; None if it is not there."""
        for root in self.media:
            for place in self.layout.get(modality, ()):
                for spelled in dict.fromkeys((name, name.replace(":", "_"))):  # some file systems have no colons
                    path = Path(place.format(root=root, name=spelled, stem=PurePosixPath(spelled).name))
                    if path.exists():
                        return str(path)
        return None

    def _fps(self, sources: Mapping[str, Any]) -> float | None:
        """The rate of published folders of frames; None for files, and for folders that say their own."""
        folders = [Path(source) for source in sources.values() if isinstance(source, str) and Path(source).is_dir()]
        is_untimed = folders and not any((folder / FOLDER_TIMING).exists() for folder in folders)
        return self.folder_fps if is_untimed else None

    def _seconds(self, example: Example, video: Any) -> tuple[float, float]:
        """The example's span in seconds."""
        assert example.span is not None
        start, end = example.span
        if not self.has_frame_fractions or not isinstance(video, str) or not Path(video).is_dir():
            return start, end
        if end > 1:
            raise AnnotationError(
                f"{self.name} {example.id}: start and end of the folder of frames {video} must be fractions up to 1, got "
                f"{start:g} and {end:g}; give the video file for a span in seconds"
            )
        with open_source(video, "video") as source:
            times, _ = source.timeline()
        first, last = (int(share * (len(times) - 1)) for share in (start, end))  # as the original, of N - 1 frames
        return float(times[first]), float(times[max(last, first + 1)])


def _check_name(name: str, where: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise AnnotationError(f"{where}: the recording {name!r} lies outside the media folder; give a name within it")
