"""Conversation formats for language models: base models, chat models of the Llama family, and any tokenizer with a
chat template.

Training texts and prompts use the same format, so a model is asked in the form it was trained on. Token blocks stand
before all text, after the begin token: `layout` places them, independent of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from vidweave.errors import ConfigError, QueryError
from vidweave.language.layout import AnswerFormat, OptionsFormat, Slot, Special, TemplateLayout, Text, TurnFormat

__all__ = [
    "ASSISTANT",
    "CHAT_FORMATS",
    "LLAMA2_BASE",
    "LLAMA2_CHAT",
    "LLAMA3_CHAT",
    "QWEN_CHAT",
    "VICUNA_CHAT",
    "ChatFormat",
    "chat_format",
]

ASSISTANT = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language."
)


@dataclass(frozen=True, kw_only=True)
class ChatFormat:
    """Templates of turns; {message} and {system} are filled in.

    Attributes:
        human: A question and everything before its answer.
        first: Replaces `human` for the first question, in formats that put the system prompt there.
        start: Stands before everything, in formats with a separate turn for the system prompt.
        answer: An answer, with its end token.
        end: That token, as text.
        system: The system prompt.
        placeholders: Markers for an image or video in questions of data sets; they are removed.
        empty: Replaces an empty answer.
        strips: Whether trailing spaces of a prompt are dropped, for tokenizers that join a space with the next word.
    """

    human: str
    first: str = ""
    start: str = ""
    answer: str = "{message}</s>"
    end: str = "</s>"
    system: str = ASSISTANT
    placeholders: tuple[str, ...] = ("<image>", "<video>")
    empty: str = " "
    strips: bool = True

    def pieces(self, messages: Sequence[str]) -> list[str]:
        """Question, answer, question, … → one text each; the first one begins with the system prompt.

        Raises:
            QueryError: no message.
        """
        if not messages:
            raise QueryError("a conversation needs at least one message")
        return [self._answer(m) if turn % 2 else self._question(m, turn == 0) for turn, m in enumerate(messages)]

    def prompt(self, messages: Sequence[str]) -> str:
        """Join all pieces to the prompt of a model."""
        text = "".join(self.pieces(messages))
        return text.rstrip() if self.strips else text

    def spelled_for(self, tokenizer: Any) -> ChatFormat:
        """Return this format with the tokenizer's own begin and end tokens where it does not know the format's.

        A base model whose tokenizer splits `</s>` into several tokens would never be trained to stop.
        """
        if self.end in tokenizer.all_special_tokens or not tokenizer.eos_token:
            return self
        end, begin = tokenizer.eos_token, tokenizer.bos_token or ""
        return replace(
            self,
            answer=self.answer.replace(self.end, end),
            human=self.human.replace("<s>", begin),
            end=end,
        )

    def question_template(self) -> str:
        """Return the prompt of one question, with {question}{options} in its place; other braces are doubled."""
        return _template(self.prompt([_MARK]))

    def turn_template(self) -> str:
        """Return the template of a further question of a conversation; it follows the end token of an answer."""
        text = self._question(_MARK, is_first=False)
        return _template(text.rstrip() if self.strips else text)

    def layout(self, block: str = "video", options: OptionsFormat | None = None) -> TemplateLayout:
        """Lay out the begin token (if there is one), the block's tokens, then the text; answers end with the end token."""
        return TemplateLayout(
            parts=(Special(token="bos", if_any=True), Slot(block=block), Text(text=self.question_template())),
            options=options or OptionsFormat(prefix="\n", item="{letter}. {option}", separator="\n"),
            answer=AnswerFormat(),
            turn=TurnFormat(text=self.turn_template(), end=self.end),
        )

    def turn_layout(
        self, slots: Sequence[Slot], tokenizer: Any, options: OptionsFormat, answer: AnswerFormat
    ) -> TemplateLayout:
        """Place the blocks' tokens inside the first turn, where its message begins; later turns follow the format.

        The text is tokenized as it is without blocks, also if the turn begins with a space.
        """
        before, after = self._question(_MARK, is_first=True).split(_MARK)
        after = after.rstrip() if self.strips else after
        before, gap = _blank_moved(before, tokenizer)
        return TemplateLayout(
            parts=(
                Special(token="bos", if_any=True),
                *((Text(text=_escaped(before)),) if before else ()),
                *slots,
                Text(text=gap + "{question}{options}" + _escaped(after)),
            ),
            options=options,
            answer=replace(answer, end=self.end),
            turn=TurnFormat(text=self.turn_template(), end=self.end),
        )

    def clean(self, message: str) -> str:
        """Remove the placeholders from a message."""
        for word in self.placeholders:
            message = message.replace(word, "")
        return message.strip()

    def _question(self, message: str, is_first: bool) -> str:
        template = self.first if is_first and self.first else self.human
        start = self.start.replace("{system}", self.system) if is_first else ""
        return start + _fill(template, self.system, self.clean(message))

    def _answer(self, message: str) -> str:
        return self.answer.replace("{message}", self.clean(message) or self.empty)


_MARK = "\0"


def _template(text: str) -> str:
    """Replace the mark in `text` with {question}{options}, and double its own braces."""
    return _escaped(text).replace(_MARK, "{question}{options}")


def _blank_moved(before: str, tokenizer: Any) -> tuple[str, str]:
    """Strip the trailing space of `before`; also return the text to put before the next word in its place."""
    stem, word = before.rstrip(" "), "What"
    if stem == before:
        return before, ""

    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    whole = ids(before + word)
    ways = ((stem, ""), (stem, before[len(stem) :]), (before, ""))
    return next((way for way in ways if ids(way[0]) + ids(way[1] + word) == whole), (before, ""))


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _fill(template: str, system: str, message: str) -> str:
    """Fill both fields at once, so that a message that contains the name of a field is not changed."""
    before, _, after = template.partition("{message}")
    return before.replace("{system}", system) + message + after


LLAMA2_BASE = ChatFormat(human="In: {message}\nOut: ")
LLAMA2_CHAT = ChatFormat(
    human="<s>[INST] {message} [/INST] ", first="[INST] <<SYS>>\n{system}\n<</SYS>>\n\n{message} [/INST] "
)
VICUNA_CHAT = ChatFormat(
    human="USER: {message} ASSISTANT: ",
    first="{system} USER: {message} ASSISTANT: ",
    system=(
        "A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions."
    ),
)
LLAMA3_CHAT = ChatFormat(
    start="<|start_header_id|>system<|end_header_id|>\n\n{system}<|eot_id|>",
    human=(
        "<|start_header_id|>user<|end_header_id|>\n\n{message}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    answer="{message}<|eot_id|>",
    end="<|eot_id|>",
    empty="",
    strips=False,
)
QWEN_CHAT = ChatFormat(
    start="<|im_start|>system\n{system}<|im_end|>\n",
    human="<|im_start|>user\n{message}<|im_end|>\n<|im_start|>assistant\n",
    answer="{message}<|im_end|>",
    end="<|im_end|>",
    empty="",
    strips=False,
)
CHAT_FORMATS = {
    "llama2-base": LLAMA2_BASE,
    "llama2-chat": LLAMA2_CHAT,
    "vicuna": VICUNA_CHAT,
    "llama3-chat": LLAMA3_CHAT,
    "qwen-chat": QWEN_CHAT,
}


def chat_format(tokenizer: Any, system: str | None = ASSISTANT) -> ChatFormat:
    """Derive the format of a tokenizer's own chat template from the text it writes around two questions and an answer.

    Args:
        system: The system prompt; None keeps the template's own, if any.

    Raises:
        ConfigError: no template, or one that refuses or changes messages or omits the system prompt.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ConfigError(f"the tokenizer has no chat template; take one of {', '.join(CHAT_FORMATS)}")
    one, reply, two = "\ue001", "\ue002", "\ue003"  # no template changes private-use characters
    first, whole = _written(tokenizer, system, one, reply, two)
    bos = getattr(tokenizer, "bos_token", None) or ""
    opening = first.partition(one)[2]
    # A begin token that opens every turn (SmolLM2's `<|im_start|>`) is part of the turn; the layout adds others.
    start = first.partition(one)[0] if bos and bos in opening else first.removeprefix(bos).partition(one)[0]
    between = whole.partition(reply)[2].partition(two)[0]
    end = _end_of_turn(tokenizer, between)
    if (system or "") not in start or not end or not whole.endswith(two + opening):
        raise ConfigError(
            "the tokenizer's chat template writes turns that depend on one another, or leaves the system's words out; "
            f"take one of {', '.join(CHAT_FORMATS)}, or make a ChatFormat"
        )
    return ChatFormat(
        first=(start.replace(system, "{system}") if system else start) + "{message}" + opening,
        human=between.removeprefix(end) + "{message}" + opening,
        answer="{message}" + end,
        end=end,
        system=system or "",
        empty="",
        strips=False,
    )


def _written(tokenizer: Any, system: str | None, one: str, reply: str, two: str) -> tuple[str, str]:
    """Apply the template to one question, and to question, reply and question.

    For templates without a system turn, such as Mistral's and Gemma's, the system prompt precedes the first question.
    """
    plain = [{"role": "user", "content": one}]
    asked = [{"role": "system", "content": system}, *plain]
    folded = [{"role": "user", "content": f"{system}\n\n{one}"}]
    rest = [{"role": "assistant", "content": reply}, {"role": "user", "content": two}]
    reason = ""
    for first in (asked, folded) if system else (plain,):
        try:
            texts = [
                tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
                for turns in (first, first + rest)
            ]
            return texts[0], texts[1]
        except Exception as error:  # noqa: BLE001  # a template may raise whatever it likes
            reason = " ".join(str(error).split())[:200]
    raise ConfigError(
        f"the tokenizer's chat template refuses a conversation ({reason}); take one of {', '.join(CHAT_FORMATS)}, or "
        "make a ChatFormat"
    )


def _end_of_turn(tokenizer: Any, text: str) -> str:
    """Find the special token that ends an answer: the first one after it."""
    special = [token for token in tokenizer.all_special_tokens if token and text.startswith(token)]
    return max(special, key=len, default="")
