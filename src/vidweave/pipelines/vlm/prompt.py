"""Queries → the prompt of a vision-language model: its own chat template, with media in place of the placeholders."""

# Axes: L tokens of the prompt

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor

from vidweave.errors import CheckpointError, QueryError
from vidweave.language.wording import Wording
from vidweave.model.compose.prompt import CHOICE_FORMATS
from vidweave.pipelines.vlm.family import MediaBlock, VlmFamily
from vidweave.types import Query

__all__ = ["Prompt", "PromptWriter", "ScenePart"]


@dataclass(frozen=True, eq=False)
class ScenePart:
    """A video or image of a scene: the scene's label, the modality, and what the model reads."""

    label: str
    modality: str
    block: MediaBlock


@dataclass(frozen=True, eq=False)
class Prompt:
    """A prompt as text, with media written out, and as token ids (1, L)."""

    text: str
    ids: Tensor


class PromptWriter:
    """Writes prompts, and options as answers, with one tokenizer; threads may share one.

    Args:
        template: The folder's chat template.
        choices: Show and score options as `letters` or `texts`.
    """

    def __init__(self, family: VlmFamily, template: str, choices: str = "letters") -> None:
        self.family = family
        self.tokenizer = family.files.tokenizer
        self.template = template
        self.options, self.answer = CHOICE_FORMATS[choices]
        self._lock = Lock()  # a fast tokenizer is set up for each call

    def prompt(self, query: Query, parts: Sequence[ScenePart], *, times_as_text: bool = False) -> Prompt:
        """Write the prompt of `query` about `parts`.

        Raises:
            QueryError: a text that spells a control token of the model.
            CheckpointError: a chat template that leaves out the media, or fails.
        """
        media = self._media(query, parts, times_as_text)
        messages = self._messages(query, media)
        text = self.family.opened(self._render(messages, len(parts)))
        with self._lock:
            begins = bool(self.tokenizer.bos_token) and text.startswith(self.tokenizer.bos_token)
            whole = self._fill(text, [part.block.text for part in parts])
            ids = self.tokenizer(whole, add_special_tokens=not begins, verbose=False)["input_ids"]
        return Prompt(whole, torch.tensor([ids]))

    def option_ids(self, prompt: Prompt, options: Sequence[str]) -> list[list[int]]:
        """Token ids of each option as it follows the prompt."""
        with self._lock:
            last = prompt.text[-1:]
            special = any(prompt.text.endswith(token) for token in self.tokenizer.all_special_tokens if token)
            space = "" if special or last.isspace() or not last else " "
            return [self._answer_ids(prompt.text, space + self.answer.write(option, options)) for option in options]

    def count_tokens(self, block: MediaBlock) -> int:
        """Number of visual tokens of a block."""
        return sum(block.text.count(token) for token in self._visual())

    def _visual(self) -> set[str]:
        return {self.family.video_mark, self.family.image_mark, *self.family.pads()}

    def decode(self, ids: Tensor) -> list[str]:
        """Generated ids (n, L) → texts without special tokens, stripped."""
        with self._lock:
            return [text.strip() for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]

    def shown(self, prompt: Prompt) -> str:
        """The prompt for the Trace: a run of one placeholder token is written once, with its number."""
        text = prompt.text
        for token in sorted(self._visual()):
            text = re.sub(f"(?:{re.escape(token)}){{2,}}", lambda run, t=token: f"{t}×{len(run[0]) // len(t)}", text)
        return text

    # -- parts ---------------------------------------------------------------------------------------------------

    def _media(self, query: Query, parts: Sequence[ScenePart], times_as_text: bool) -> list[dict[str, str]]:
        content, label = [], ""
        for part in parts:
            if part.label and part.label != label:
                content.append({"type": "text", "text": f"{part.label}:\n"})
            label = part.label
            if times_as_text and part.modality == "video":
                content.append({"type": "text", "text": times_sentence(part.block)})
            is_still = part.modality == "image" and self.family.reads_stills
            content.append({"type": "image" if is_still else self.family.video_part})
            if label:
                content.append({"type": "text", "text": "\n"})
        return content

    def _messages(self, query: Query, media: list[dict[str, str]]) -> list[dict[str, Any]]:
        with self._lock:
            wording = Wording(self.tokenizer, "error")
            for earlier, answer in query.history:
                self._typed(wording, earlier, "question")
                self._typed(wording, answer, "answer")
            question = self._typed(wording, query.text, "question")
            for option in query.options:
                self._typed(wording, option, "option")
        turns = [*query.history, (question + self.options.render(query.options), None)]
        messages: list[dict[str, Any]] = []
        for number, (asked, answered) in enumerate(turns):
            content = [*(media if number == 0 else []), {"type": "text", "text": asked}]
            messages.append({"role": "user", "content": content})
            if answered is not None:
                messages.append({"role": "assistant", "content": [{"type": "text", "text": answered}]})
        return messages

    def _typed(self, wording: Wording, text: str, what: str) -> str:
        for mark in (self.family.video_mark, self.family.image_mark):
            if mark in text:
                raise QueryError(f"the {what} contains {mark!r}, which stands for media in this model; reword it")
        return wording.typed(text, what)

    def _render(self, messages: list[dict[str, Any]], count: int) -> str:
        failure, flat = "", [self._flat(message) for message in messages]
        tries = [(self.template, messages), (self.template, flat), (self.family.template, messages)]
        for template, form in tries:
            if not template:
                continue
            try:
                with self._lock:
                    text = self.tokenizer.apply_chat_template(
                        form, chat_template=template, tokenize=False, add_generation_prompt=True
                    )
            except (TemplateError, TypeError, KeyError, ValueError) as error:
                failure = f" ({' '.join(str(error).split())})"
                continue
            if len(self._marks().findall(text)) == count:
                return text
        raise CheckpointError(
            f"the chat template of {self.family.files.folder} does not place the {count} media of the prompt as "
            f"{self.family.video_mark!r}{failure}; fetch its files again"
        )

    def _flat(self, message: dict[str, Any]) -> dict[str, str]:
        """The same message as one text, for templates that take no parts."""
        marks: dict[str, str] = {"video": self.family.video_mark + "\n", "image": self.family.image_mark + "\n"}
        return {
            "role": message["role"],
            "content": "".join(marks.get(part["type"]) or str(part["text"]) for part in message["content"]),
        }

    def _marks(self) -> re.Pattern[str]:
        marks = dict.fromkeys((self.family.video_mark, self.family.image_mark))
        return re.compile("|".join(re.escape(mark) for mark in marks))

    def _fill(self, text: str, blocks: Sequence[str]) -> str:
        remaining = iter(blocks)
        return self._marks().sub(lambda _: next(remaining), text)

    def _answer_ids(self, before: str, answer: str) -> list[int]:
        """Ids of `answer` as they follow `before`: tokenizers may join a space with the word behind it."""
        tail = before[-1:]
        plain = self.tokenizer(tail, add_special_tokens=False, verbose=False)["input_ids"]
        both = self.tokenizer(tail + answer, add_special_tokens=False, verbose=False)["input_ids"]
        ids = both[len(plain) :] if both[: len(plain)] == plain else []
        if not ids:
            ids = self.tokenizer(answer, add_special_tokens=False, verbose=False)["input_ids"]
        end = self.tokenizer.eos_token_id
        return [*ids, end] if self.answer.scores_eos and end is not None else list(ids)


def times_sentence(block: MediaBlock) -> str:
    """A sentence with the time of each frame, for families that read none."""
    listed = ", ".join(f"{t:.1f} s" for t in block.frame_seconds)
    return f"The frames of the video were taken at {listed}.\n"
