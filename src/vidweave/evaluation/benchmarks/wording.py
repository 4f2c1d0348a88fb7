"""Wording of questions for a model: unchanged, or by a template with lettered options."""

from __future__ import annotations

from dataclasses import dataclass, replace
from string import Formatter, ascii_uppercase
from typing import Any

from vidweave.errors import ConfigError, UnknownNameError
from vidweave.evaluation.scorers.mcq_parsing import DEFECTS, parsers
from vidweave.types import Query

__all__ = ["PROMPTS", "Wording"]

# Name → template. `neutral` is from lmms-eval's Perception Test; the others are from the systems
PROMPTS = {
    "neutral": "{question}\n{options}\nAnswer with the option's letter from the given choices directly.",
    "short": "{question} Answer the question using a single word or phrase.",
    "merv": (
        "{question} Select the correct answer from the following options. Write your answer as only one of {letters} "
        "and nothing else.\n\n    {options}"
    ),
    "grounding": (
        "When in the video does this happen: {question} Answer with the start and the end in seconds, such as 3.5 to 12."
    ),
    "sevila": (
        "Question: {question} {inline} Considering the information presented in the frame, select the correct answer "
        "from the options."
    ),
}
_FIELDS = {"question", "options", "letters", "inline"}


@dataclass(frozen=True, kw_only=True)
class Wording:
    """Template of questions, and parser of choices.

    Attributes:
        prompt: Name of `PROMPTS`, or a template with ``{question}``, ``{options}`` (a line per option, "A. text"),
            ``{letters}`` ("A, B, C") and ``{inline}`` ("Option A: text Option B: text"); empty leaves questions as they are.
        parser: Parser of generated choices (`evaluation.scorers.mcq_parsing`); empty scores options by likelihood.

    Raises:
        ConfigError: a template with other fields or without a question.
        UnknownNameError: no such parser.
    """

    prompt: str = ""
    parser: str = ""

    def __post_init__(self) -> None:
        if self.parser and self.parser not in parsers():
            raise UnknownNameError("parser of choices", self.parser, parsers())
        try:
            fields = {name for _, name, _, _ in Formatter().parse(self.template) if name is not None}
        except ValueError as error:
            raise ConfigError(f"the prompt {self.prompt!r} is no template ({error})") from error
        if self.template and ("question" not in fields or fields - _FIELDS):
            raise ConfigError(
                f"the prompt {self.prompt!r} must hold {{question}} and may hold {{options}}, {{letters}}, {{inline}}; "
                f"names of prompts are {', '.join(PROMPTS)}"
            )

    @property
    def template(self) -> str:
        """The template; generated choices need one, and use `neutral` by default."""
        return PROMPTS.get(self.prompt, self.prompt) or (PROMPTS["neutral"] if self.parser else "")

    def put(self, query: Query) -> Query:
        """Return the query in the wording for the model."""
        if not self.template or (not query.options and "{options}" in self.template):
            return query
        letters = ascii_uppercase[: len(query.options)]
        if len(letters) < len(query.options):
            raise ConfigError(f"options have letters from A to Z, got {len(query.options)} options")
        pairs = list(zip(letters, query.options, strict=True))
        text = self.template.format(
            question=query.text,
            options="\n".join(f"{letter}. {option}" for letter, option in pairs),
            letters=", ".join(letters),
            inline=" ".join(f"Option {letter}: {option}" for letter, option in pairs),
        )
        return replace(query, text=text, options=() if self.parser else query.options)

    def describe(self) -> dict[str, Any]:
        """JSON data for the manifest: template, parser and known faults of the parser; empty by default."""
        if not self.template and not self.parser:
            return {}
        return {"prompt": self.template, "parser": self.parser, "parser_defects": DEFECTS.get(self.parser, "")}
