"""Render the published prompts. Whitespace matters: models continue these texts verbatim."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from vidweave.contra4.parsing import LETTERS
from vidweave.contra4.schema import MAX_SCENES
from vidweave.errors import ConfigError

__all__ = [
    "Style",
    "answer_prompt",
    "caption_prompt",
    "category_prompt",
    "published",
    "question_prompt",
    "scene_list",
    "verifier_prompt",
]


Style = Literal["text", "chat"]
"""A text to continue, or a user message."""


@cache
def published() -> Mapping[str, Any]:
    """Return all templates and the models they were written for, as in `prompts.json` beside this file."""
    return json.loads(files("vidweave.contra4").joinpath("prompts.json").read_text(encoding="utf-8"))


def question_prompt(captions: Sequence[str]) -> str:
    """Render instruction, six examples, the scenes, and the words every question starts with; 2 to 4 captions."""
    part = published()["question"]
    return part["prefix"] + _ending(part, captions).format(*captions) + part["continuation"]


def answer_prompt(captions: Sequence[str], question: str) -> str:
    """Render instruction, the six examples with answers, the scenes and the question; 2 to 4 captions."""
    part = published()["answer"]
    return part["prefix"] + _ending(part, captions).format(*captions, question)


def verifier_prompt(captions: Sequence[str], question: str, style: Style = "text") -> str:
    """Render the question with the scenes in the given order, asking only for the choice."""
    template = published()["verification"]["verifiers"]["llama" if style == "text" else "mistral"]["template"]
    return template.format(question, scene_list(captions))


def scene_list(captions: Sequence[str]) -> str:
    """Render ``Scene A. "…"``, one line per scene."""
    part = published()["verification"]
    lines = (part["option"].format(letter=x, caption=c) for x, c in zip(LETTERS, captions, strict=False))
    return part["separator"].join(lines)


def caption_prompt(captions: Sequence[str], question: str) -> str:
    """Render the prompt of the caption baseline: the question with its options on one line, to be continued by a letter."""
    part = published()["baselines"]["caption"]
    options = (part["option"].format(letter=x, caption=c) for x, c in zip(LETTERS, captions, strict=False))
    return part["template"].format(question=question, options=part["option_separator"].join(options))


def category_prompt(question: str) -> str:
    """Render five example questions with their category, and the question."""
    return published()["category"]["template"].format(question)


def _ending(part: Mapping[str, Any], captions: Sequence[str]) -> str:
    if str(len(captions)) not in part["endings"]:
        raise ConfigError(f"the published prompts take 2 to {MAX_SCENES} scenes, got {len(captions)}")
    return part["endings"][str(len(captions))]
