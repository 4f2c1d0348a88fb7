"""Baseline for models that take one clip: ask about every scene separately and choose the best one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vidweave.errors import QueryError
from vidweave.types import Answer, Answerer, Clip, OptionScore, Query, Scene

__all__ = ["Ask", "Probe", "SceneByScene", "asks_whether"]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Question about one scene that helps to answer a question about several.

    Attributes:
        text: Text of the question.
        worth: Option → score of the scene for that option; a scene's score is the mean under the model's probabilities.
    """

    text: str
    worth: Mapping[str, float]


Ask = Callable[[Query, Scene], Sequence[Probe]]
"""A question and one of its scenes → the probes of that scene, of which the best one counts."""


def asks_whether(query: Query, scene: Scene) -> list[Probe]:
    """Probe for any question: is it this scene, yes or no."""
    return [Probe(text=f"{query.text} Is it this one?", worth={"yes": 1.0, "no": 0.0})]


@dataclass(frozen=True, kw_only=True)
class SceneByScene:
    """Answer questions about several scenes with a model that takes one clip and scores options.

    Scenes are never seen together; only the model's scores for each of them are compared.

    Attributes:
        model: Model that scores options.
        ask: Turns a question into probes of a single scene.
        name: Name of `ask` in predictions.
        shown: Transforms a scene's clip before it is passed to the model.
    """

    model: Answerer
    ask: Ask = asks_whether
    name: str = "whether"
    shown: Callable[[Clip], Clip] = lambda clip: clip

    def describe(self) -> dict[str, Any]:
        return {**self.model.describe(), "scenes": "one by one", "probe": self.name}

    def answer(self, queries: Sequence[Query], **decoding: Any) -> list[Answer]:
        """Return one answer per query: the label of the best scene, with all labels scored by the log of their worth.

        Raises:
            QueryError: a model that does not score options.
        """
        probes = [[self.ask(query, scene) for scene in query.scenes] for query in queries]
        alone = [
            Query(probe.text, (Scene("", self.shown(scene.clip)),), list(probe.worth))
            for query, asked in zip(queries, probes, strict=True)
            for scene, of_scene in zip(query.scenes, asked, strict=True)
            for probe in of_scene
        ]
        answers = iter(self.model.answer(alone, **decoding))
        worths = [[max(_worth(next(answers), probe) for probe in of_scene) for of_scene in asked] for asked in probes]
        return [_best(query, worth) for query, worth in zip(queries, worths, strict=True)]


def _best(query: Query, worths: Sequence[float]) -> Answer:
    labels = query.options or [scene.label for scene in query.scenes]
    scores = [math.log(max(worth, 1e-30)) for worth in worths]
    ranked = sorted(zip(labels, scores, strict=True), key=lambda pair: -pair[1])
    return Answer(ranked[0][0], tuple(OptionScore(label, score) for label, score in ranked))


def _worth(answer: Answer, probe: Probe) -> float:
    """Mean worth of the options under the model's probabilities."""
    scores = {option.text: option.score for option in answer.options}
    if scores.keys() != probe.worth.keys():
        raise QueryError("scene-by-scene answers need a model that scores options; this one only generates text")
    best = max(scores.values())
    weights = {text: math.exp(score - best) for text, score in scores.items()}
    return sum(weights[text] * worth for text, worth in probe.worth.items()) / sum(weights.values())
