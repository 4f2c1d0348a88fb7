"""Contra4 as a task: its questions as queries about labelled scenes, with the controls that its scores need."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import Any, Literal

from vidweave.contra4.schema import ContrastQuestion, SceneRef
from vidweave.contra4.toy import TOY_SOURCE
from vidweave.data.schema import Example
from vidweave.errors import ConfigError
from vidweave.evaluation.choices import chosen_option
from vidweave.evaluation.controls import blank_clip
from vidweave.types import Clip, Query, Scene

__all__ = ["FACETS", "Contra4Task", "Locate", "View", "chooses_the_truth", "question_facets"]

View = Literal["given", "text_only", "other_scenes", "orders"]
"""What is shown: the scenes as they stand; nothing but the text; scenes of other questions in their place; the scenes in
every order."""

Locate = Callable[[SceneRef], Clip | None]
"""A scene → the clip of its one modality; None if it is not there."""

ANSWER_RULE = 2
"""Which rule decides what a recorded output chooses (`evaluation.choices`); 1 took any "scene X" before a leading letter."""

FACETS = ("selection", "scenes", "modalities", "answer modality", "category", "answer label")


def question_facets(question: ContrastQuestion) -> dict[str, str]:
    """The sides by which accuracies are broken down; `category` only where the file has it."""
    facets = {
        "selection": question.selection,
        "scenes": question.q_type,
        "modalities": "+".join(question.modality_set),
        "answer modality": question.modalities[question.answer],
        "answer label": question.answer_label,
    }
    return facets if question.category is None else {**facets, "category": question.category}


def chooses_the_truth(example: Example, output: str) -> bool:
    """The judge of this task: the output names the right scene, by the one documented rule."""
    position = chosen_option(output, example.query.options)
    return position is not None and position == example.position


class Contra4Task:
    """Questions of a file.

    Args:
        questions: What is asked, in this order.
        locate: Finds media. None is for models that read captions alone; a scene's clip then holds only its name. A
            question with a scene that is not there is left out and counted in `num_left_out`.
        view: What is shown.
        captions: (source, id) → what is said of a scene instead of the file's caption, e.g. a captioner's words.
        file_hash: Identifies the file in records.
        seed: Of `other_scenes`.

    Raises:
        ConfigError: nothing is left to ask.
    """

    def __init__(
        self,
        questions: Sequence[ContrastQuestion],
        *,
        locate: Locate | None = None,
        view: View = "given",
        captions: Mapping[tuple[str, str], str] | None = None,
        file_hash: str = "",
        seed: int = 0,
    ) -> None:
        self.view, self._captions, self._seed, self._file_hash = view, captions, seed, file_hash
        self._clips = None if locate is None else _located(questions, locate)
        self.questions = [
            q for q in questions if self._clips is None or all(_medium(s) in self._clips for s in q.scenes)
        ]
        self.num_left_out = len(questions) - len(self.questions)
        if not self.questions:
            raise ConfigError(f"none of the {len(questions)} questions has all its media; see vidweave contra4 doctor")
        is_toy = all(scene.source == TOY_SOURCE for question in self.questions for scene in question.scenes)
        self._name = "toyworld contra4" if is_toy else "contra4"  # published numbers are about the second
        self._asked = [(q, order) for q in self.questions for order in self._orders(q)]
        self._pools = _pools(self.questions)

    def ids(self) -> Sequence[str]:
        """The questions' own; with the order of the scenes behind a slash, if every order is asked."""
        return [self._id(question, order) for question, order in self._asked]

    def example(self, index: int) -> Example:
        """One question as a query; media are located, and opened only to be blanked."""
        asked, order = self._asked[index]
        question = asked.reordered(order)
        shown = self._shown(question)
        scenes = [Scene(label, self._clip(scene)) for label, scene in zip(question.labels, shown, strict=True)]
        extra = {"question": question, "captions": tuple(self._caption(scene) for scene in shown)}
        return Example(
            id=self._id(asked, order),
            family=question.q_type,
            query=Query(question.question, tuple(scenes), question.labels, extra),
            truth=question.answer_label,
            needs=frozenset(scene.clip_modality for scene in question.scenes),
            facets=question_facets(question),
        )

    def describe(self) -> dict[str, Any]:
        facts = {
            "name": self._name,
            "file_sha256": self._file_hash,
            "view": self.view,
            "media": self._clips is not None,
            "answer_rule": ANSWER_RULE,
        }
        if self._captions is None:
            facts["captions"] = "the file's"
        else:
            said = sorted(([*key], text) for key, text in self._captions.items())
            facts["captions_sha256"] = hashlib.sha256(json.dumps(said).encode()).hexdigest()
        return {**facts, "seed": self._seed} if self.view == "other_scenes" else facts

    def _orders(self, question: ContrastQuestion) -> list[tuple[int, ...]]:
        every = permutations(range(len(question.scenes)))
        return list(every) if self.view == "orders" else [next(every)]

    def _id(self, question: ContrastQuestion, order: Sequence[int]) -> str:
        return f"{question.id}/{''.join(map(str, order))}" if self.view == "orders" else question.id

    def _shown(self, question: ContrastQuestion) -> list[SceneRef]:
        """The scenes whose media and captions are shown."""
        if self.view != "other_scenes":
            return list(question.scenes)
        rng = random.Random(f"{self._seed}/{question.id}")
        own = {scene.key for scene in question.scenes}
        strangers = [[s for s in self._pools[scene.modality] if s.key not in own] for scene in question.scenes]
        if not all(strangers):
            raise ConfigError("scenes of other questions are needed for every modality; take more questions")
        return [rng.choice(pool) for pool in strangers]

    def _caption(self, scene: SceneRef) -> str:
        if self.view == "text_only":
            return ""
        if self._captions is None:
            return scene.caption
        if scene.key not in self._captions:
            raise ConfigError(f"the captions say nothing of {scene.key[0]} {scene.key[1]!r}")
        return self._captions[scene.key]

    def _clip(self, scene: SceneRef) -> Clip:
        """The medium as it is, or blank; only its name, where models read captions alone."""
        if self._clips is None:
            named: dict[str, Any] = {scene.clip_modality: f"{scene.source}/{scene.id}"}
            return Clip(**named)
        clip = self._clips[_medium(scene)]
        return blank_clip(clip) if self.view == "text_only" else clip


def _located(questions: Sequence[ContrastQuestion], locate: Locate) -> dict[tuple[str, ...], Clip]:
    """The clips of all scenes that are there."""
    scenes = {_medium(scene): scene for question in questions for scene in question.scenes}
    return {key: clip for key, scene in scenes.items() if (clip := locate(scene)) is not None}


def _medium(scene: SceneRef) -> tuple[str, ...]:
    return scene.modality, *scene.key


def _pools(questions: Sequence[ContrastQuestion]) -> dict[str, list[SceneRef]]:
    """Distinct scenes by modality."""
    pools: dict[str, dict[tuple[str, str], SceneRef]] = {}
    for scene in (scene for question in questions for scene in question.scenes):
        pools.setdefault(scene.modality, {}).setdefault(scene.key, scene)
    return {modality: list(scenes.values()) for modality, scenes in pools.items()}
