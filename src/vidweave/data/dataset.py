"""Data sets read from annotation files: rows become examples; media are located when an example is accessed.

A reader is a subclass of `Dataset`: the settings are its fields, `parse` turns a row into an example, and `layout` gives
the paths of each modality below the root folders.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

from vidweave.data.found_media import describe_found
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

    The file is read and every row checked on first access to an example or id; an example's media are located when it
    is accessed. Repeated ids get a numeric suffix (``7``, ``7#2``), which `notes` reports.

    Attributes:
        data: The annotation file.
        media: Folders of the media; the first one that has the file is used.
        modalities: Modalities of the clips; a clip has each of them whose file exists. Empty: the first modality of
            the data set (usually video), since a model refuses modalities that it does not use.
        missing: How to handle an example without any media file: `refuse` raises, `leave_out` drops and counts it.
    """

    name: ClassVar[str]
    layout: ClassVar[Mapping[str, tuple[str, ...]]]
    """Modality → path patterns of its files, tried in order: ``{root}`` is a root folder, ``{name}`` the recording."""
    has_frame_fractions: ClassVar[bool] = False
    """Whether spans are fractions of the clip for folders of frames (for video files, they are seconds)."""
    folder_fps: ClassVar[float | None] = None
    """Frame rate of the published folders of frames, which have no timestamps; None uses the default rate."""

    data: Path
    media: tuple[Path, ...] = ()
    modalities: tuple[str, ...] = ()
    missing: Literal["refuse", "leave_out"] = "refuse"

    def __post_init__(self) -> None:
        for name in ("media", "modalities"):  # one may be given without a tuple; a text would be taken letter by letter
            if isinstance(value := getattr(self, name), (str, Path)):
                object.__setattr__(self, name, (value,))

    @classmethod
    @abstractmethod
    def parse(cls, row: Row) -> Example:
        """Parse a row to an example about a recording by name (`data.schema.named`).

        A KeyError, IndexError, TypeError or ValueError becomes an AnnotationError with the row's location.
        """

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Iterate over the rows of the annotation file with their locations, for messages."""
        return read_rows(Path(self.data))

    @classmethod
    def read(cls, row: Row, where: str = "the annotation") -> Example:
        """Parse a row to an example without locating its media; errors name the row.

        Raises:
            AnnotationError: A field is missing or invalid; names `where`.
        """
        try:
            return cls.parse(row)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            problem = f"lacks {error}" if isinstance(error, KeyError) else f"cannot be read ({error})"
            raise AnnotationError(f"{where}, {problem}; see the format of {cls.name} in docs/datasets.md") from error

    # ---- the sequence

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, index: int) -> Example:  # type: ignore[override]  # no slices: examples are built one by one
        example = self.annotations[index]
        clip = self.clip(example)
        if clip is None:
            raise AnnotationError(
                f"{self.name} {example.id}: no file{self._of_modalities} for {example.media!r}"
                f"{self._searched(example.media)}"
            )
        return example.about(clip)

    @property
    def ids(self) -> list[str]:
        """Ids of all examples, in order."""
        return [example.id for example in self.annotations]

    @cached_property
    def annotations(self) -> tuple[Example, ...]:
        """All examples, about recordings by name, before media are located."""
        if self.missing == "refuse":
            return self._rows_read
        return tuple(example for example in self._rows_read if self.sources(example))

    @property
    def all_annotations(self) -> tuple[Example, ...]:
        """All examples, including those dropped because their media are missing."""
        return self._rows_read

    def require_media(self) -> None:
        """Check that every example has media, or, with ``missing=leave_out``, that at least one has.

        Raises:
            AnnotationError: Media are missing; names the number of examples, the first one and its expected file.
        """
        if self.missing == "leave_out":
            if not self.annotations:
                raise AnnotationError(
                    f"{self.name}: none of {len(self._rows_read)} examples has media"
                    f"{self._searched(self._rows_read[0].media)}"
                )
            return
        without = [example for example in self._rows_read if not self.sources(example)]
        if without:
            raise AnnotationError(
                f"{self.name}: {len(without)} of {len(self._rows_read)} examples have no media, the first is "
                f"{without[0].id}: no file{self._of_modalities} for {without[0].media!r}{self._searched(without[0].media)}; "
                "check media=FOLDER, or use missing=leave_out to skip them"
            )

    @property
    def _of_modalities(self) -> str:
        return f" of {', '.join(self._modalities)}" if self._modalities else ""

    def _searched(self, name: str) -> str:
        """The layout that is expected, and what the folders have instead."""
        roots = self._roots
        if not roots:
            return " in no folder (give media=FOLDER)"
        paths = [
            path.format(root="FOLDER", name=name, stem=PurePosixPath(name).name)
            for path in self.layout.get(next(iter(self._modalities), ""), ())
        ]
        expected = f" (expected {', '.join(paths[:4])}{', …' if len(paths) > 4 else ''})" if paths else ""
        return f" in {', '.join(map(str, roots))}{expected}; {describe_found(roots, name)}"

    @property
    def _roots(self) -> tuple[Path, ...]:
        """Folders where media are looked for."""
        return tuple(map(Path, self.media))

    @property
    def notes(self) -> list[str]:
        """Notes about excluded or changed examples."""
        left_out = len(self._rows_read) - len(self.annotations)
        repeated = sum("#" in e.id and e.id.rpartition("#")[2].isdigit() for e in self._rows_read)
        unlabeled = sum(not example.is_labeled for example in self._rows_read)
        return [
            *(
                [f"{unlabeled} of {len(self._rows_read)} examples have no label: they are answered, but not scored"]
                * (unlabeled > 0)
            ),
            *([f"{left_out} of {len(self._rows_read)} examples are skipped: their media are missing"] * (left_out > 0)),
            *([f"{repeated} repeated ids in {Path(self.data).name} got a suffix"] * (repeated > 0)),
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
            raise AnnotationError(f"{self.data} contains no rows")
        return tuple(examples)

    # ---- media

    @property
    def _modalities(self) -> tuple[str, ...]:
        unknown = [name for name in self.modalities if name not in self.layout]
        if unknown and len(unknown) == len(self.modalities):
            raise ConfigError(f"{self.name} has no {', '.join(unknown)}; it has {', '.join(self.layout)}")
        return self.modalities or tuple(self.layout)[:1]

    def clip(self, example: Example) -> Clip | None:
        """Return the clip of an example with each modality whose files exist; None if none exists."""
        sources = self.sources(example)
        if not sources:
            return None
        if example.span is None:
            return Clip(**sources, fps=self._fps(sources))
        start, end = self._seconds(example, sources.get("video"))
        return Clip(**sources, start_seconds=start, end_seconds=end, fps=self._fps(sources))

    def sources(self, example: Example) -> dict[str, Any]:
        """Map each modality of an example whose files exist to its source."""
        sources = {modality: self._source_once(modality, example.media) for modality in self._modalities}
        return {modality: source for modality, source in sources.items() if source is not None}

    def _source_once(self, modality: str, name: str) -> Any:
        """Look up `source` once for all questions about a recording (missing sources are looked up again)."""
        if (source := self._located.get((modality, name))) is None and (
            source := self.source(modality, name)
        ) is not None:
            self._located[modality, name] = source
        return source

    @cached_property
    def _located(self) -> dict[tuple[str, str], Any]:
        return {}

    def source(self, modality: str, name: str) -> Any:
        """Find one modality of the recording `name`; None if it does not exist."""
        for root in self.media:
            for pattern in self.layout.get(modality, ()):
                for spelling in dict.fromkeys((name, name.replace(":", "_"))):  # some file systems have no colons
                    path = Path(pattern.format(root=root, name=spelling, stem=PurePosixPath(spelling).name))
                    if path.exists():
                        return str(path)
        return None

    def _fps(self, sources: Mapping[str, Any]) -> float | None:
        """Return the frame rate for published folders of frames; None for files and for folders with timestamps."""
        folders = [Path(source) for source in sources.values() if isinstance(source, str) and Path(source).is_dir()]
        is_untimed = folders and not any((folder / FOLDER_TIMING).exists() for folder in folders)
        return self.folder_fps if is_untimed else None

    def _seconds(self, example: Example, video: Any) -> tuple[float, float]:
        """Return the span of the example in seconds."""
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
        first, last = (
            int(fraction * (len(times) - 1)) for fraction in (start, end)
        )  # of N - 1 frames, as in the original
        return float(times[first]), float(times[max(last, first + 1)])


def _check_name(name: str, where: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise AnnotationError(f"{where}: the recording {name!r} is outside the media folder; give a path inside it")
