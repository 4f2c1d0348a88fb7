"""Prompts and targets of VideoTGB's conversations, in its training stages and its evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from vidweave.types import Conversation

__all__ = ["Template", "prompt", "target"]

Template = Literal["single", "conversation", "evaluation"]


def prompt(conversation: Conversation, template: Template = "conversation") -> str:
    """Build the text before the last answer.

    `single`: ``USER: {q}ASSISTANT: `` (stages SF and TG; there is no space before ASSISTANT). `conversation`: turns
    joined as ``USER: {q}  ASSISTANT: {a} </s>USER: …`` after the marker of the medium (stages IV and IVT).
    `evaluation`: ``USER: <video>\\n{q} ASSISTANT: ``.
    """
    *earlier, (last, _) = conversation.turns
    if template == "single":
        return f"USER: {last}ASSISTANT: "
    if template == "evaluation":
        return f"USER: {_marked(conversation, last)} ASSISTANT: "
    before = "".join(f"USER: {q}  ASSISTANT: {a} </s>" for q, a in _marked_turns(conversation, earlier))
    (now, _), *_ = _marked_turns(conversation, [(last, "")]) if not earlier else [(last, "")]
    return f"{before}USER: {now}  ASSISTANT: "


def target(conversation: Conversation, template: Template = "conversation", *, has_end: bool = False) -> str:
    """Build the target answer: `single` always has an end mark, `conversation` only if the tokenizer adds none (`has_end`:
    Vicuna)."""
    answer = conversation.answer
    return f"{answer} </s>" if template == "single" else answer + "</s>" * has_end


def _marked(conversation: Conversation, text: str) -> str:
    return text if conversation.clip is None else f"<{conversation.modality}>\n{text}"


def _marked_turns(conversation: Conversation, turns: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Insert the marker before the first question."""
    return [(_marked(conversation, q) if i == 0 else q, a) for i, (q, a) in enumerate(turns)]
