"""Questions about the toy world: generated on the fly from seeds, or read from a folder of `vidweave toyworld make`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from vidweave.data.jsonl import expect, read_jsonl
from vidweave.data.schema import Example
from vidweave.errors import AnnotationError, ConfigError, QueryError, UnknownNameError
from vidweave.toyworld.questions import QUESTION_TYPES, QuestionType, ToyQuestion, questions
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import Length, sample_scene
from vidweave.toyworld.splits import check_split, scene_seeds
from vidweave.types import Clip, Query

__all__ = ["ToyQuestions", "available_question_types", "read_toyworld"]

SCENES_PER_EXAMPLE = 60  # far more than any question type needs to balance its answers


def available_question_types() -> list[str]:
    """Names of the available question types, in the order of the toy world."""
    return [name for name, question_type in QUESTION_TYPES.items() if question_type.is_available]


class ToyQuestions(Sequence[Example]):
    """Balanced questions about unseen scenes; scenes are sampled at construction, frames rendered on access.

    All answers of a question type are correct equally often (up to one), so that a constant answer is at chance level.
    A scene has at most one question per type. All scenes belong to the test split and to world number `seed`.

    Args:
        seed: Number of the world; two worlds share no scene.
        examples: Questions per question type.
        question_types: Names of question types; None is every available one.
        modalities: Modalities of the clips.
        size: Width and height of frames.
        form: Transform applied to each clip (e.g. features instead of frames); None leaves it unchanged.
        kept: Number of cached clips, since several questions share a clip.

    Attributes:
        ids, question_types: Id and question type of every item, available without rendering.

    Raises:
        UnknownNameError: A question type does not exist.
        ConfigError: `examples` is below 1, or a question type has too few questions.
    """

    def __init__(
        self,
        seed: int,
        examples: int,
        *,
        question_types: Sequence[str] | None = None,
        modalities: Sequence[str] = ("video",),
        size: int = 48,
        form: Callable[[Clip], Clip] | None = None,
        kept: int = 16,
    ) -> None:
        if examples < 1:
            raise ConfigError(f"a toy world needs at least 1 example per question type, got {examples}")
        names = available_question_types() if question_types is None else list(question_types)
        for name in names:
            if name not in QUESTION_TYPES:
                raise UnknownNameError("question type", name, QUESTION_TYPES)
        self.modalities, self.size = tuple(modalities), size
        self._form = form
        self._render = lru_cache(maxsize=kept)(self._make_clip)
        self._plan = _plan(seed, examples, [QUESTION_TYPES[name] for name in names])
        self.ids = [f"{asked.question_type}/{scene_seed}" for scene_seed, asked in self._plan]
        self.question_types = [asked.question_type for _, asked in self._plan]

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, index: int) -> Example:  # type: ignore[override]  # no slices: items are costly
        scene_seed, asked = self._plan[index]
        clip = self._render(scene_seed, asked.scope)
        return Example(
            id=self.ids[index],
            question_type=asked.question_type,
            query=Query.about(clip, asked.text, asked.options),
            answer=asked.answer,
            needs=asked.needs,
            scope=asked.scope,
            encoder=asked.encoder,
        )

    def _make_clip(self, scene_seed: int, scope: Length) -> Clip:
        scene = sample_scene(scene_seed, length=scope)
        sources: dict[str, Any] = {name: render(scene, name, size=self.size) for name in self.modalities}
        clip = Clip(**sources)
        return clip if self._form is None else self._form(clip)


def _plan(seed: int, examples: int, question_types: Sequence[QuestionType]) -> list[tuple[int, ToyQuestion]]:
    """Plan the scene seed and question of every item, scene by scene."""
    # Remaining questions per answer: `examples` divided evenly, the first answers get the remainder
    left = {
        f.name: Counter({a: _share(examples, len(f.answers), i) for i, a in enumerate(f.answers)})
        for f in question_types
    }
    plan = []
    for scene_seed in scene_seeds(seed, examples * SCENES_PER_EXAMPLE + 1_000):
        check_split(scene_seed, "test")
        for asked in _ask(scene_seed, [f for f in question_types if left[f.name].total()]):
            if left[asked.question_type][asked.answer]:
                left[asked.question_type][asked.answer] -= 1
                plan.append((scene_seed, asked))
        if not any(counter.total() for counter in left.values()):
            return plan
    missing = {name: dict(+counter) for name, counter in left.items() if counter.total()}
    raise ConfigError(f"the toy world has no more questions with these answers: {missing}; ask for fewer examples")


def _share(total: int, parts: int, index: int) -> int:
    return total // parts + (index < total % parts)


def _ask(scene_seed: int, question_types: Sequence[QuestionType]) -> Iterator[ToyQuestion]:
    for scope in get_args(Length):
        if names := [question_type.name for question_type in question_types if question_type.scope == scope]:
            yield from questions(sample_scene(scene_seed, length=scope), question_types=names)


def read_toyworld(folder: Path | str, modalities: Sequence[str] = ("video",)) -> list[Example]:
    """Read the questions of a folder written by `vidweave toyworld make`, in the order of its `questions.jsonl`.

    Args:
        folder: Folder of that file.
        modalities: Modalities of the clips; files are named, not opened.

    Raises:
        MediaNotFoundError: The folder has no `questions.jsonl`.
        AnnotationError: A line is invalid or repeated, a clip lacks a modality, or a file is outside the folder.
    """
    folder = Path(folder)
    examples: dict[str, Example] = {}
    for where, data in read_jsonl(folder / "questions.jsonl"):
        example = _read_example(folder, where, data, modalities)
        if example.id in examples:
            raise AnnotationError(f"{where}: {example.id!r} appears twice")
        examples[example.id] = example
    return list(examples.values())


def _read_example(folder: Path, where: str, data: dict[str, Any], modalities: Sequence[str]) -> Example:
    name, question, options, answer = expect(data, where, clip=str, question=str, options=list, answer=str)
    question_type, needs, scope = expect(data, where, question_type=str, needs=list, scope=str)
    paths = {"video": name, **(expect(data, where, paths=dict)[0] if "paths" in data else {})}
    if missing := [modality for modality in modalities if modality not in paths]:
        raise AnnotationError(f"{where}: the clip has no {missing[0]}; it has {', '.join(sorted(paths))}")
    clip = Clip(**{modality: _within(folder, paths[modality], where) for modality in modalities})
    try:
        return Example(
            id=f"{question_type}/{PurePosixPath(name).with_suffix('')}",
            question_type=question_type,
            query=Query.about(clip, question, tuple(str(option) for option in options)),
            answer=answer,
            needs=frozenset(needs),
            scope=scope,
            encoder=str(data.get("encoder", "general")),
        )
    except (QueryError, AnnotationError) as error:
        raise AnnotationError(f"{where}: {error}") from error


def _within(folder: Path, name: Any, where: str) -> Any:
    path = PurePosixPath(str(name))
    if path.is_absolute() or ".." in path.parts:
        raise AnnotationError(f"{where}: the file {str(name)!r} is outside the folder; give a path inside it")
    return folder / path
