"""The questions that need no video, and how a message is written for the language model alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["QUESTIONS", "prompt_of"]

QUESTIONS = json.loads((Path(__file__).parent / "text_only_questions.json").read_text())


def prompt_of(tokenizer: Any, text: str) -> str:
    """One question as the chat template writes it."""
    message = [{"role": "user", "content": text}]
    return tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
