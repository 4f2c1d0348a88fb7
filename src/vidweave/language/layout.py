"""Prompt layouts as data: the positions of text and token blocks.

A layout is a list of parts (`vidweave.language.parts`). `plan` writes one row per query; `splice` fills in embeddings.
"""

# Axes: B items, L plan positions (a slot is one position, whatever its number of tokens)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any, ClassVar, Literal

import torch

from vidweave.errors import ConfigError, QueryError, ShapeError
from vidweave.language.parts import (
    TEXT_FIELDS,
    EachScene,
    EachSegment,
    Part,
    Slot,
    Special,
    Text,
    When,
    fields_of,
    walk,
)
from vidweave.language.row import RowWriter
from vidweave.language.wording import Wording
from vidweave.types import ComponentConfig, PromptPlan, Query, TextTokens

__all__ = [
    "AnswerFormat",
    "EachSegment",
    "EachScene",
    "OptionsFormat",
    "Slot",
    "Special",
    "TemplateLayout",
    "Text",
    "TurnFormat",
    "When",
]

OPTION_FIELDS = {"letter", "number", "option"}


def _format_option(template: str, position: int, option: str) -> str:
    """Fill {letter} (A…Z), {number} (from 1) and {option} of `template`."""
    if position >= len(ascii_uppercase) and "{letter}" in template:
        raise _no_letters()
    letter = ascii_uppercase[position] if position < len(ascii_uppercase) else ""
    return template.format(letter=letter, number=position + 1, option=option)


def _no_letters() -> QueryError:
    return QueryError(f"there are more than {len(ascii_uppercase)} options, which have no letters left; give fewer")


@dataclass(frozen=True, kw_only=True)
class OptionsFormat:
    """Format of {options}: each option as `item`, joined, with `prefix` and `suffix` only if there are options.

    `prefix` and `suffix` may contain {letters}: A, B, … of all options.
    """

    item: str = "{letter}. {option}"
    separator: str = " "
    prefix: str = ""
    suffix: str = ""

    def __post_init__(self) -> None:
        fields_of(self.item, OPTION_FIELDS, "option item")
        for around in (self.prefix, self.suffix):
            fields_of(around, {"letters"}, "prefix or suffix of the options")

    def render(self, options: Sequence[str]) -> str:
        """Return the text that replaces {options}; empty without options."""
        if not options:
            return ""
        if len(options) > len(ascii_uppercase) and "{letters}" in self.prefix + self.suffix:
            raise _no_letters()
        shown = self.separator.join(_format_option(self.item, i, o) for i, o in enumerate(options))
        before, after = (
            around.format(letters=", ".join(ascii_uppercase[: len(options)])) for around in (self.prefix, self.suffix)
        )
        return before + shown + after


@dataclass(frozen=True)
class _Shown:
    """Options rendered only when a prompt shows them, so a prompt without them needs no letters."""

    format: OptionsFormat
    options: Sequence[str]

    def __format__(self, spec: str) -> str:
        return format(self.format.render(self.options), spec)


@dataclass(frozen=True, kw_only=True)
class AnswerFormat:
    """Format of an answer, the same in training and in scoring.

    Attributes:
        prefix: Precedes every answer and is trained with it (a space, for tokenizers that join words with it).
        option: Format of an answer that is one of the query's options; {letter}, {number}, {option}.
        eos: Whether the answer ends with the end token.
        end: That token as text, e.g. the one that ends a turn; empty is the tokenizer's eos token.
        scores_eos: Whether it counts when options are scored; False scores only the text of an option.
        stop: Generated text is cut before this text, for models that continue with the next turn; empty does not cut.
        legacy_first_mention: The loss is on the first occurrence of the answer in the prompt after the last block, not
            on the answer: a fault of Contra4's fine-tuning (F3), for comparison only.
        max_tokens: Maximum length of an answer, including the end token; see `on_overflow` of the layout for longer
            ones.
    """

    prefix: str = ""
    option: str = "{option}"
    eos: bool = True
    end: str = ""
    scores_eos: bool = True
    stop: str = ""
    legacy_first_mention: bool = False
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        fields_of(self.option, OPTION_FIELDS, "answer option")
        if self.max_tokens is not None and self.max_tokens < 1 + self.eos:
            raise ConfigError(
                f"no answer fits into {self.max_tokens} tokens; max_tokens must be at least {1 + self.eos}"
            )

    def cut(self, text: str) -> str:
        """Cut generated text before `stop`."""
        return text.partition(self.stop)[0] if self.stop else text

    def write(self, text: str, options: Sequence[str]) -> str:
        """Format the answer `text`."""
        shown = _format_option(self.option, list(options).index(text), text) if text in options else text
        return self.prefix + shown


@dataclass(frozen=True, kw_only=True)
class TurnFormat:
    """Format of a further turn after an answer.

    Attributes:
        text: A further question and everything before its answer; may contain {question} and {options}.
        end: The token that ends an answer, as text; replaced by the tokenizer's end token if it does not have this one.
    """

    text: str
    end: str

    def __post_init__(self) -> None:
        if "question" not in fields_of(self.text, {"question", "options"}, "turn"):
            raise ConfigError(f"a turn needs the field {{question}}, but its text is {self.text!r}")

    def spelled_for(self, tokenizer: Any) -> TurnFormat:
        """Return this format with the begin and end tokens of `tokenizer` where it does not know the format's."""
        if self.end in tokenizer.all_special_tokens or not tokenizer.eos_token:
            return self
        return TurnFormat(text=self.text.replace("<s>", tokenizer.bos_token or ""), end=tokenizer.eos_token)


@dataclass(frozen=True, kw_only=True)
class TemplateLayout(ComponentConfig):
    """Prompt layout as a list of parts.

    Attributes:
        parts: Parts of the prompt, from left to right; the answer follows if there is a target.
        options: Format of {options}.
        answer: Format of answers.
        turn: Format of further turns, for prompts of chat models; None repeats the text that contains the question.
        label_separator: Separator of the scene labels of {labels}.
        on_overflow: A text longer than its `max_tokens` is an `error`, or is cut and noted in the plan (`truncate`).
    """

    kind: ClassVar[str] = "template"
    parts: tuple[Part, ...]
    options: OptionsFormat = field(default_factory=OptionsFormat)
    answer: AnswerFormat = field(default_factory=AnswerFormat)
    turn: TurnFormat | None = None
    label_separator: str = ", "
    on_overflow: Literal["error", "truncate"] = "error"

    def __post_init__(self) -> None:
        if not self.parts:
            raise ConfigError("a layout needs at least one part")
        for part, inside in walk(self.parts):
            if isinstance(part, (EachSegment, EachScene)) and inside - (
                {"each_scene"} if part.kind == "each_group" else set()
            ):
                raise ConfigError(
                    f"{part.kind!r} cannot stand inside {' and '.join(sorted(inside))!r}; only segments in scenes can"
                )
            if isinstance(part, Text):
                used = fields_of(part.text, TEXT_FIELDS, "prompt text")
                for name, loop in {"label": "each_scene", "index": "each_group"}.items():
                    if name in used and loop not in inside:
                        raise ConfigError(f"the field {{{name}}} of {part.text!r} has a meaning only inside {loop!r}")

    def build(self) -> TemplateLayout:
        """Return the layout itself: it has no weights."""
        return self

    @property
    def blocks(self) -> frozenset[str]:
        """Names of all blocks that have a place in the layout."""
        return frozenset(part.block for part, _ in walk(self.parts) if isinstance(part, Slot))

    def plan(
        self,
        queries: Sequence[Query],
        tokenizer: Any,
        segments: Mapping[tuple[str, int, int], int],
        targets: Sequence[str] | None = None,
    ) -> PromptPlan:
        """Write the prompts of `queries`.

        Args:
            queries: One per item.
            tokenizer: The language model's transformers tokenizer.
            segments: (block, item, scene) → number of segments of that block; missing or 0 means that it is absent.
            targets: One answer per query, trained on after the prompt (causal models only; for a sequence-to-sequence
                model omit it and use `target_tokens`).

        Raises:
            ModalityError: a block that has no place in the layout, or a place without its block.
            QueryError: a text that is too long, or spells a special token; several scenes without a scene loop.
            ShapeError: blocks of one loop with unequal numbers of segments.
        """
        if targets is not None and len(targets) != len(queries):
            raise ShapeError(f"{len(targets)} targets are given for {len(queries)} queries")
        wording = Wording(tokenizer, self.on_overflow)
        slots: dict[tuple[str, int, int | None], int] = {}
        rows = []
        for item, query in enumerate(queries):
            here = {(block, scene): count for (block, i, scene), count in segments.items() if i == item and count > 0}
            row = RowWriter(query, wording, here, slots, self._fields(query, wording))
            self._write_turns(row, query, wording)
            row.check_complete()
            if targets is not None:
                ids = self._answer_ids(targets[item], query.options, wording)
                if self.answer.legacy_first_mention:
                    row.add_mentioned(ids, len(ids) - self.answer.eos)
                else:
                    row.add_target(ids)
            rows.append(row)
        return _stack(rows, tuple(slots))

    def _write_turns(self, row: RowWriter, query: Query, wording: Wording) -> None:
        """Write the earlier turns of the conversation with their answers, then the question."""
        turn = None if self.turn is None or not query.history else self.turn.spelled_for(wording.tokenizer)
        parts = self.parts
        for text, answer in query.history:
            row.write_all(parts, {"question": wording.typed(text, "question"), "options": ""})
            row.add_answer(self._earlier_answer_ids(answer, turn, wording))
            parts = self._later_parts if turn is None else (Text(text=turn.text),)
        row.write_all(parts)

    def _earlier_answer_ids(self, answer: str, turn: TurnFormat | None, wording: Wording) -> list[int]:
        if turn is None:
            return self._answer_ids(answer, (), wording)
        return wording.ids(self.answer.prefix + wording.typed(answer, "answer")) + wording.ids(turn.end)

    @property
    def _later_parts(self) -> tuple[Part, ...]:
        """Return the parts of a further question: those of the first without begin token, token blocks and scenes."""
        texts = tuple(part for part in self.parts if isinstance(part, Text) and "question" in part.text)
        if not texts:
            raise QueryError(
                "this model's prompt writes its question once, among the scenes; ask one question at a time"
            )
        return texts

    def option_ids(self, query: Query, tokenizer: Any) -> list[list[int]]:
        """Return the token ids of each option of `query`, in the format of answers, for `LanguageModel.score`."""
        wording = Wording(tokenizer, self.on_overflow)
        rows = [self._answer_ids(option, query.options, wording) for option in query.options]
        return rows if self.answer.scores_eos or not self.answer.eos else [row[:-1] for row in rows]

    def answer_ids(self, text: str, tokenizer: Any, options: Sequence[str] = ()) -> list[int]:
        """Return the token ids of one answer as a training target; one of `options` gets the layout's option format."""
        return self._answer_ids(text, options, Wording(tokenizer, self.on_overflow))

    def target_tokens(self, queries: Sequence[Query], targets: Sequence[str], tokenizer: Any) -> TextTokens:
        """Return answers (B, L) for a sequence-to-sequence model, padded on the right."""
        if len(targets) != len(queries):
            raise ShapeError(f"{len(targets)} targets are given for {len(queries)} queries")
        wording = Wording(tokenizer, self.on_overflow)
        rows = [
            self._answer_ids(target, query.options, wording) for query, target in zip(queries, targets, strict=True)
        ]
        ids, mask = _pad(rows, 0), _pad([[True] * len(row) for row in rows], False)
        return TextTokens(ids, mask)

    def _fields(self, query: Query, wording: Wording) -> dict[str, Any]:
        labels = [wording.typed(scene.label, "scene label") for scene in query.scenes]
        options = [wording.typed(option, "option") for option in query.options]
        return {
            "question": wording.typed(query.text, "question"),
            "options": _Shown(self.options, options),
            "labels": self.label_separator.join(labels),
        }

    def _answer_ids(self, text: str, options: Sequence[str], wording: Wording) -> list[int]:
        if not text.strip():
            raise QueryError("a target answer is empty; give the text to train on")
        ids = wording.ids(self.answer.write(wording.typed(text, "answer"), options))
        end = self._end_ids(wording) if self.answer.eos else []
        most = self.answer.max_tokens
        if most is not None and len(ids) + len(end) > most:
            wording.refuse(len(ids) + len(end), most, "answer")
            ids = ids[: most - len(end)]
        return ids + end

    def _end_ids(self, wording: Wording) -> list[int]:
        if not self.answer.end:
            return wording.special("eos")
        ids = wording.ids(self.answer.end)
        if len(ids) != 1:
            raise ConfigError(f"answers end with {self.answer.end!r}, which this tokenizer reads as {len(ids)} tokens")
        return ids


def _pad(rows: Sequence[Sequence[Any]], filler: Any) -> torch.Tensor:
    """Pad rows of unequal length on the right to (B, L); at least one column."""
    longest = max((len(row) for row in rows), default=0)
    padded = [list(row) + [filler] * (longest - len(row)) for row in rows]
    return torch.tensor(padded, dtype=torch.bool if isinstance(filler, bool) else torch.int64).reshape(
        len(rows), longest
    )


def _stack(rows: Sequence[RowWriter], slots: tuple[tuple[str, int, int | None], ...]) -> PromptPlan:
    return PromptPlan(
        ids=_pad([row.ids for row in rows], -1),
        slot=_pad([row.slot for row in rows], -1),
        slots=slots,
        is_target=_pad([row.is_target for row in rows], False),
        notes=tuple((item, note) for item, row in enumerate(rows) for note in row.notes),
    )
