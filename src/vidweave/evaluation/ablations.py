"""Baselines that run the model on a part of the input: the options, the question, or one middle frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from vidweave.data.schema import Example
from vidweave.errors import MediaDecodeError, MediaError, ModalityError
from vidweave.evaluation.controls import blank_clip
from vidweave.media import open_clip
from vidweave.registry import MODALITIES
from vidweave.types import Clip, Query

__all__ = ["InputAblation", "input_ablations"]

NO_QUESTION = "Which of these is the answer?"
_REMEMBERED = 64  # clips; the questions of a batch are about a few


@dataclass(frozen=True, kw_only=True)
class InputAblation:
    """Removes a part of the input of a question.

    Attributes:
        name: Name in the report.
        slug: Part of the name of its prediction file.
        ignores: Arguments of decoding that do not apply to the remaining input.
    """

    name: str
    slug: str
    change_clip: Callable[[Clip], Clip]
    question: str | None = None
    ignores: frozenset[str] = frozenset()
    _made: dict[Any, Clip] = field(default_factory=dict, compare=False, repr=False)
    _lock: Lock = field(default_factory=Lock, compare=False, repr=False)

    def apply(self, query: Query) -> Query:
        """Remove that part from the question; questions about one clip share the changed clip."""
        scenes = tuple(replace(scene, clip=self._changed(scene.clip)) for scene in query.scenes)
        if self.question is None:
            return replace(query, scenes=scenes)
        return replace(query, scenes=scenes, text=self.question, extra={}, history=())

    def _changed(self, clip: Clip) -> Clip:
        key = (tuple((name, str(source)) for name, source in clip.items()), tuple(clip.settings.values()))
        if any(not isinstance(source, str) for source in clip.values()):  # in memory: its text is not informative
            return self._change(clip)
        with self._lock:
            if key not in self._made:
                if len(self._made) >= _REMEMBERED:
                    self._made.pop(next(iter(self._made)))
                self._made[key] = self._change(clip)
            return self._made[key]

    def _change(self, clip: Clip) -> Clip:
        try:
            return self.change_clip(clip)
        except (MediaError, ModalityError) as error:
            raise type(error)(f"baseline {self.name!r}: {error}") from error


def input_ablations(examples: Sequence[Example], modalities: Sequence[str]) -> tuple[list[InputAblation], list[str]]:
    """Return the baselines that apply to a data set, and a line for each that does not.

    "Without the clip" uses a blank one of the same length (gray frames, silence), since a model always gets a clip.

    Args:
        examples: The questions.
        modalities: Modalities of the clips.
    """
    made, notes = [], []
    if examples and all(example.query.options for example in examples):
        made.append(
            InputAblation(name="options alone", slug="options-alone", change_clip=blank_clip, question=NO_QUESTION)
        )
    else:
        notes.append("baseline 'options alone' does not apply: there are questions without options")
    made.append(InputAblation(name="question without the clip", slug="question-alone", change_clip=blank_clip))
    if any(_has_frames(modality) for modality in modalities):
        made.append(
            InputAblation(
                name="one middle frame",
                slug="middle-frame",
                change_clip=middle_frame,
                ignores=frozenset({"num_frames", "fps"}),
            )
        )
    else:
        notes.append("baseline 'one middle frame' does not apply: the clips have no frames")
    return made, notes


def middle_frame(clip: Clip) -> Clip:
    """Replace a clip by the middle frame of each modality that has frames; other modalities are dropped.

    A model that samples more frames gets this one repeated.

    Raises:
        MediaDecodeError: The clip has no frame in its span.
    """
    frames: dict[str, Any] = {}
    for modality in clip:
        if _has_frames(modality):
            with open_clip(clip, modality) as opened:
                times, _ = opened.timeline()
                start, end = clip.start_seconds or 0.0, clip.end_seconds
                inside = [i for i, t in enumerate(times) if t >= start and (end is None or t <= end)]
                if not inside:
                    raise MediaDecodeError(f"the clip has no frame between {start:g} s and {end} s")
                frames[modality] = opened.read_frames([inside[len(inside) // 2]])
    return Clip(**frames, **clip.settings)


def _has_frames(modality: str) -> bool:
    return MODALITIES.entry(modality).facts.carrier == "frames"
