"""The Contra4 task: questions as queries about labeled scenes, with the controls needed to interpret scores."""

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

__all__ = ["FACETS", "Contra4Task", "Locate", "View", "chooses_answer", "question_facets"]

View = Literal["given", "text_only", "other_scenes", "orders"]
"""What is shown: the scenes as they are; the text alone; scenes of other questions instead; the scenes in every
order."""

Locate = Callable[[SceneRef], Clip | None]
"""A scene → a clip of its single modality; None if the medium is missing."""

ANSWER_RULE = 2
"""Version of the rule that reads the chosen scene from an output; 1 took any "scene X" before a leading letter."""

FACETS = ("selection", "scenes", "modalities", "answer modality", "category", "answer label")


def question_facets(question: ContrastQuestion) -> dict[str, str]:
    """Return the facets by which accuracies are broken down; `category` only where the file has it."""
    facets = {
        "selection": question.selection,
        "scenes": question.q_type,
        "modalities": "+".join(question.modality_set),
        "answer modality": question.modalities[question.answer],
        "answer label": question.answer_label,
    }
    return facets if question.category is None else {**facets, "category": question.category}


def chooses_answer(example: Example, output: str) -> bool:
    """Judge of this task: return whether the output names the right scene, by the one documented rule."""
    position = chosen_option(output, example.query.options)
    return position is not None and position == example.position


class Contra4Task:
    """Task over the questions of a file.

    Args:
        questions: Questions in the order in which they are asked.
        locate: Finds media. None is for models that read only captions; a scene's clip then holds just its name. A
            question with a missing scene is skipped and counted in `num_left_out`.
        view: What is shown.
        captions: (source, id) → caption that replaces the one in the file, e.g. from a captioner.
        file_hash: Identifies the file in predictions.
        seed: Random seed of `other_scenes`.

    Raises:
        ConfigError: no questions are left.
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
        self._name = "toyworld contra4" if is_toy else "contra4"  # published numbers are for the second
        self._asked = [(q, order) for q in self.questions for order in self._orders(q)]
        self._pools = _pools(self.questions)

    def ids(self) -> Sequence[str]:
        """Ids of the questions; with ``/`` and the order of the scenes appended if every order is asked."""
        return [self._id(question, order) for question, order in self._asked]

    def example(self, index: int) -> Example:
        """Return one question as a query; media are located, and opened only to be blanked."""
        asked, order = self._asked[index]
        question = asked.reordered(order)
        shown = self._shown(question)
        scenes = [Scene(label, self._clip(scene)) for label, scene in zip(question.labels, shown, strict=True)]
        extra = {"question": question, "captions": tuple(self._caption(scene) for scene in shown)}
        return Example(
            id=self._id(asked, order),
            question_type=question.q_type,
            query=Query(question.question, tuple(scenes), question.labels, extra),
            answer=question.answer_label,
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
            entries = sorted(([*key], text) for key, text in self._captions.items())
            facts["captions_sha256"] = hashlib.sha256(json.dumps(entries).encode()).hexdigest()
        return {**facts, "seed": self._seed} if self.view == "other_scenes" else facts

    def _orders(self, question: ContrastQuestion) -> list[tuple[int, ...]]:
        every = permutations(range(len(question.scenes)))
        return list(every) if self.view == "orders" else [next(every)]

    def _id(self, question: ContrastQuestion, order: Sequence[int]) -> str:
        return f"{question.id}/{''.join(map(str, order))}" if self.view == "orders" else question.id

    def _shown(self, question: ContrastQuestion) -> list[SceneRef]:
        """Scenes whose media and captions are shown."""
        if self.view != "other_scenes":
            return list(question.scenes)
        rng = random.Random(f"{self._seed}/{question.id}")
        own = {scene.key for scene in question.scenes}
        strangers = [[s for s in self._pools[scene.modality] if s.key not in own] for scene in question.scenes]
        if not all(strangers):
            raise ConfigError("every modality needs scenes of other questions; use more questions")
        return [rng.choice(pool) for pool in strangers]

    def _caption(self, scene: SceneRef) -> str:
        if self.view == "text_only":
            return ""
        if self._captions is None:
            return scene.caption
        if scene.key not in self._captions:
            raise ConfigError(f"the captions file has no caption for {scene.key[0]} {scene.key[1]!r}")
        return self._captions[scene.key]

    def _clip(self, scene: SceneRef) -> Clip:
        """The medium as it is, or blanked; only its name for models that read captions alone."""
        if self._clips is None:
            named: dict[str, Any] = {scene.clip_modality: f"{scene.source}/{scene.id}"}
            return Clip(**named)
        clip = self._clips[_medium(scene)]
        return blank_clip(clip) if self.view == "text_only" else clip


def _located(questions: Sequence[ContrastQuestion], locate: Locate) -> dict[tuple[str, ...], Clip]:
    """Locate the clips of all scenes whose media exist."""
    scenes = {_medium(scene): scene for question in questions for scene in question.scenes}
    return {key: clip for key, scene in scenes.items() if (clip := locate(scene)) is not None}


def _medium(scene: SceneRef) -> tuple[str, ...]:
    return scene.modality, *scene.key


def _pools(questions: Sequence[ContrastQuestion]) -> dict[str, list[SceneRef]]:
    """Group distinct scenes by modality."""
    pools: dict[str, dict[tuple[str, str], SceneRef]] = {}
    for scene in (scene for question in questions for scene in question.scenes):
        pools.setdefault(scene.modality, {}).setdefault(scene.key, scene)
    return {modality: list(scenes.values()) for modality, scenes in pools.items()}
