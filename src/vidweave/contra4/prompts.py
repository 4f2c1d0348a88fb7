"""The published prompts, rendered. Whitespace matters: models continue these texts as they stand."""

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
"""A text to continue, or the message of a user."""


@cache
def published() -> Mapping[str, Any]:
    """All templates with the models they were written for, as in `prompts.json` beside this file."""
    return json.loads(files("vidweave.contra4").joinpath("prompts.json").read_text(encoding="utf-8"))


def question_prompt(captions: Sequence[str]) -> str:
    """Instruction, six examples, the scenes, and the words that every question begins with; 2 to 4 captions."""
    part = published()["question"]
    return part["prefix"] + _ending(part, captions).format(*captions) + part["continuation"]


def answer_prompt(captions: Sequence[str], question: str) -> str:
    """Instruction, the same six examples with their answers, the scenes and the question; 2 to 4 captions."""
    part = published()["answer"]
    return part["prefix"] + _ending(part, captions).format(*captions, question)


def verifier_prompt(captions: Sequence[str], question: str, style: Style = "text") -> str:
    """The question with the scenes, in the order given; asks for the choice alone."""
    template = published()["verification"]["verifiers"]["llama" if style == "text" else "mistral"]["template"]
    return template.format(question, scene_list(captions))


def scene_list(captions: Sequence[str]) -> str:
    """``Scene A. "…"``, one line per scene."""
    part = published()["verification"]
    lines = (part["option"].format(letter=x, caption=c) for x, c in zip(LETTERS, captions, strict=False))
    return part["separator"].join(lines)


def caption_prompt(captions: Sequence[str], question: str) -> str:
    """The caption baseline's: the question with its options on one line, to be continued with a letter."""
    part = published()["baselines"]["caption"]
    options = (part["option"].format(letter=x, caption=c) for x, c in zip(LETTERS, captions, strict=False))
    return part["template"].format(question=question, options=part["option_separator"].join(options))


def category_prompt(question: str) -> str:
    """Five examples of questions with their kind, and the question."""
    return published()["category"]["template"].format(question)


def _ending(part: Mapping[str, Any], captions: Sequence[str]) -> str:
    if str(len(captions)) not in part["endings"]:
        raise ConfigError(f"the published prompts take 2 to {MAX_SCENES} scenes, got {len(captions)}")
    return part["endings"][str(len(captions))]
