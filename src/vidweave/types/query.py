"""Clips, scenes and queries, as pure values that open nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isnan
from numbers import Real
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vidweave.errors import ModalityError, QueryError, UnknownNameError
from vidweave.registry import MODALITIES
from vidweave.types.summary import MAX_CHARACTERS, Summarized, shorten

__all__ = ["MAX_QUESTION_CHARACTERS", "MAX_QUESTION_WORDS", "Clip", "Query", "Scene"]

MAX_QUESTION_WORDS = 2_000
MAX_QUESTION_CHARACTERS = 40_000
_SETTINGS = ("start_seconds", "end_seconds", "fps")  # of a clip, besides its sources


class Clip(Mapping[str, Any]):
    """Modalities of one recording → the source of each. Nothing is opened here.

    ``Clip("a.mp4")`` is a video; ``Clip("a.mp4", audio="a.wav", depth=frames)`` adds modalities. A source is a path,
    or a carrier of `vidweave.types` (`Frames`, `Waveform`, `PointCloud`, `PrecomputedFeatures`). ``audio=True`` means
    the audio track of the video file.

    Args:
        video: Source of the video.
        start_seconds, end_seconds: The span to use, in the time of the files; None is the clip's own start or end.
        fps: Frame rate of folders and arrays, which carry no times; files with times of their own keep them.
        modalities: Further sources by modality name.

    Raises:
        UnknownNameError: a modality that is not registered; lists near matches.
        ModalityError: no modality at all, or a span that ends before it starts.
    """

    __slots__ = ("_sources", "end_seconds", "fps", "start_seconds")

    def __init__(
        self,
        video: Any = None,
        *,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
        fps: float | None = None,
        **modalities: Any,
    ) -> None:
        sources = {"video": video, **modalities}
        sources = {name: source for name, source in sources.items() if source is not None and source is not False}
        for name in sources:
            if name not in MODALITIES:
                raise UnknownNameError(
                    "modality", name, MODALITIES, "(register one with vidweave.registry.MODALITIES.register)"
                )
        if not sources:
            raise ModalityError("a clip needs at least one modality; give a video, or e.g. Clip(audio='a.wav')")
        if sources.get("audio") is True:
            if not isinstance(sources.get("video"), (str, Path)):
                raise ModalityError(
                    "audio=True means the audio track of the video file, but the clip has no video file"
                )
            sources["audio"] = sources["video"]
        for name, value in (("start_seconds", start_seconds), ("end_seconds", end_seconds)):
            if value is not None and (not isinstance(value, Real) or isnan(value)):
                raise ModalityError(f"{name} must be a number of seconds, got {value!r}")
        if start_seconds is not None and start_seconds < 0:
            raise ModalityError(f"start_seconds must not be negative, got {start_seconds}")
        if end_seconds is not None and end_seconds <= (start_seconds or 0.0):
            raise ModalityError(f"the span ends ({end_seconds} s) before it starts ({start_seconds or 0.0} s)")
        if fps is not None and (isinstance(fps, bool) or not isinstance(fps, Real) or not 0 < fps < inf):
            raise ModalityError(f"fps must be a positive number of frames per second, got {fps!r}")
        self._sources = MappingProxyType(sources)
        self.start_seconds = start_seconds
        self.end_seconds = end_seconds
        self.fps = fps

    def __getitem__(self, modality: str) -> Any:
        return self._sources[modality]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)

    @property
    def settings(self) -> dict[str, float | None]:
        """Span and frame rate: the arguments of `Clip` besides its sources."""
        return {name: getattr(self, name) for name in _SETTINGS}

    def __reduce__(self) -> tuple[Any, ...]:
        """Clips go to worker processes; a view of a dict would not."""
        return _clip_of, ({**self._sources, **self.settings},)

    def __repr__(self) -> str:
        parts = [f"{name}={shorten(repr(source), 80)}" for name, source in self._sources.items()]
        parts += [f"{n}={v}" for n, v in self.settings.items() if v is not None]
        return shorten(f"Clip({', '.join(parts)})", MAX_CHARACTERS)


def _clip_of(arguments: Mapping[str, Any]) -> Clip:
    return Clip(**arguments)


@dataclass(frozen=True, repr=False)
class Scene(Summarized):
    """A clip with the label that questions use for it; the label is empty when there is only one."""

    label: str
    clip: Clip


@dataclass(frozen=True, repr=False)
class Query(Summarized):
    """A question about one or more scenes, with answer options or without.

    Attributes:
        text: The question.
        scenes: The scenes that the question is about.
        options: Answers to choose from.
        extra: Further values for the systems that use them.
        may_repeat_options: Whether options may be equal texts, as in some rows of data sets; the choice is then a position.
        history: Earlier questions of the conversation, each with its answer.

    Raises:
        QueryError: a question or options that are not text, an empty or overlong question, no scene, repeated
            labels or options.
    """

    text: str
    scenes: tuple[Scene, ...]
    options: Sequence[str] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    may_repeat_options: bool = False
    history: Sequence[tuple[str, str]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "history", tuple(self.history))
        for question, answer in self.history:
            _check_text("a question of the history", question)
            _check_text("an answer of the history", answer)
            if not question.strip() or not answer.strip():
                raise QueryError("a turn of the history is empty; give each earlier question and answer a text")
        if isinstance(self.options, str) or not isinstance(self.options, Sequence):
            raise QueryError(f"options must be a list of texts, got {self.options!r}")
        object.__setattr__(self, "scenes", tuple(self.scenes))
        object.__setattr__(self, "options", tuple(self.options))
        _check_text("the question", self.text)
        for number, option in enumerate(self.options, 1):
            _check_text(f"option {number}", option)
        if not self.text.strip():
            raise QueryError("the question is empty; ask something about the clip")
        words = len(self.text.split())
        if words > MAX_QUESTION_WORDS:
            raise QueryError(f"the question has {words} words, at most {MAX_QUESTION_WORDS} are allowed; shorten it")
        if len(self.text) > MAX_QUESTION_CHARACTERS:
            raise QueryError(
                f"the question has {len(self.text)} characters, at most {MAX_QUESTION_CHARACTERS} are allowed; shorten it"
            )
        if not self.scenes:
            raise QueryError("a query needs at least one scene")
        labels = [scene.label for scene in self.scenes]
        if len(set(labels)) != len(labels):
            raise QueryError(f"scene labels repeat: {labels}; give each scene its own")
        blank = [i for i, option in enumerate(self.options) if not option.strip()]
        if blank:
            raise QueryError(f"option {blank[0] + 1} is empty; give each option a text")
        stripped = [option.strip() for option in self.options]
        repeated = sorted({option for option in stripped if stripped.count(option) > 1})
        if repeated and not self.may_repeat_options:
            raise QueryError(f"options repeat: {', '.join(map(repr, repeated))}; give each option once")
        if len(self.options) == 1:
            raise QueryError(f"one option ({self.options[0]!r}) leaves no choice; give two or more, or none")

    @classmethod
    def about(cls, clip: Clip | str | Path, text: str, options: Sequence[str] = ()) -> Query:
        """Create a query about one clip (or the path of a video)."""
        return cls(text, (Scene("", clip if isinstance(clip, Clip) else Clip(clip)),), options)


def _check_text(what: str, text: Any) -> None:
    if not isinstance(text, str):
        raise QueryError(f"{what} must be a text, got {text!r}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise QueryError(f"{what} has characters that are not valid Unicode; check the encoding of {text[:40]!a}")
