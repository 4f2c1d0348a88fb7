"""The prompt of a composed model: the tokenizer's own chat template, or plain words for a base model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vidweave.language.chat import chat_format
from vidweave.language.layout import AnswerFormat, OptionsFormat, Slot, TemplateLayout, Text
from vidweave.model.compose.parts import LanguagePart
from vidweave.model.compose.settings import Choices

__all__ = ["CHOICE_FORMATS", "prompt_for"]

# How options are shown, and what is scored: what the words ask for.
CHOICE_FORMATS: dict[str, tuple[OptionsFormat, AnswerFormat]] = {
    "letters": (
        OptionsFormat(
            prefix="\n",
            item="{letter}. {option}",
            separator="\n",
            suffix="\nAnswer with the letter of the right option only.",
        ),
        # the end token would ask whether the model stops after the letter, where it may go on with ". Paris"
        AnswerFormat(option="{letter}", scores_eos=False),
    ),
    "texts": (
        OptionsFormat(prefix="\nAnswer with one of: ", item="{option}", separator=", ", suffix="."),
        AnswerFormat(option="{option}"),
    ),
}


def prompt_for(part: LanguagePart, blocks: Sequence[str], choices: Choices, *, optional: bool) -> TemplateLayout:
    """Where the blocks of visual tokens and the words stand.

    Args:
        optional: A block that an item lacks is left out.

    Raises:
        ConfigError: a chat template that refuses or changes messages.
    """
    options, answer = CHOICE_FORMATS[choices]
    slots = tuple(Slot(block=block, optional=optional) for block in blocks)
    if getattr(part.tokenizer, "chat_template", None):
        return chat_format(part.tokenizer, None).turn_layout(slots, part.tokenizer, options, answer)
    opening, closing = _special_words(part.tokenizer)
    words = "{question}{options}" if part.is_seq2seq else "Question: {question}{options}\nAnswer:"
    before = (Text(text=opening),) if opening else ()
    return TemplateLayout(
        parts=(*before, *slots, Text(text=words + closing)),
        options=options,
        answer=replace(answer, prefix="" if part.is_seq2seq else " "),
    )


def _special_words(tokenizer: Any) -> tuple[str, str]:
    """What the tokenizer puts around a text, as text: nothing, a begin token, T5's end token."""
    plain = tokenizer("a", add_special_tokens=False, verbose=False)["input_ids"]
    whole = tokenizer("a", verbose=False)["input_ids"]
    starts = [i for i in range(len(whole) - len(plain) + 1) if whole[i : i + len(plain)] == plain]
    if not starts:
        return "", ""
    first = starts[0]
    around = whole[:first], whole[first + len(plain) :]
    opening, closing = ("".join(tokenizer.convert_ids_to_tokens(ids)).replace("{", "{{") for ids in around)
    return opening, closing
