"""How OneLLM is asked: the begin token, then all inputs, then the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vidweave.language.layout import AnswerFormat, EachScene, OptionsFormat, Slot, Special, TemplateLayout, Text, When

__all__ = ["PROMPTS", "SYSTEM", "Prompt", "prompt_layout"]

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, and "
    "polite answers to the human's questions."
)
_CONTRA4 = "{question} Choose from: {labels}"


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One way of asking.

    Attributes:
        text: What stands behind the inputs; {question}, {options}, {labels}. Empty is nothing.
        scene: Stands before the input of each scene ({label}); None takes one scene only.
        answer: How answers are written, and where they end.
        decoding: Of free answers.
    """

    text: str
    scene: str | None = None
    answer: AnswerFormat = field(default_factory=lambda: AnswerFormat(stop="###"))
    decoding: Mapping[str, Any] = field(default_factory=dict)


def _turn(text: str) -> str:
    return f"{SYSTEM}\n\n###Human: {text}\n###Assistant:"


PROMPTS: dict[str, Prompt] = {
    "chat": Prompt(text=_turn("{question}{options}"), decoding={"max_new_tokens": 128}),
    # Scenes before the conversation, each with its label; the first answers of the model hold the letter.
    "contra4": Prompt(text=_turn(_CONTRA4), scene="{label}: ", decoding={"max_new_tokens": 5}),
    # Contra4's fine-tuning has no conversation around the question, unlike its inference.
    "contra4_bare": Prompt(
        text=_CONTRA4, scene="{label}: ", answer=AnswerFormat(eos=False), decoding={"max_new_tokens": 5}
    ),
    # Stages I to III of the paper: a caption follows the tokens.
    "pretrain": Prompt(text="", answer=AnswerFormat(), decoding={"max_new_tokens": 30}),
}


def prompt_layout(modalities: Sequence[str], prompt: Prompt) -> TemplateLayout:
    """The order of the prompt; the inputs of one scene stand in the order of `modalities`."""
    inputs = tuple(When(present=(name,), parts=(Slot(block=name),)) for name in modalities)
    if prompt.scene is not None:
        inputs = (EachScene(parts=(Text(text=prompt.scene), *inputs)),)
    return TemplateLayout(
        parts=(Special(token="bos"), *inputs, *((Text(text=prompt.text),) if prompt.text else ())),
        options=OptionsFormat(prefix=" Options: ", item="({letter}) {option}", separator=" "),
        answer=prompt.answer,
    )
