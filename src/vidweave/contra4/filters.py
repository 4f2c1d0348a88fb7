"""Stage: filter rows by words in the question and by verifier agreement, in one or all scene orders."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import compress
from typing import Any, ClassVar, Literal, Self, get_args

from vidweave.contra4.parsing import parse_scene
from vidweave.contra4.rows import NOT_ASKED, Row, has_repeated_modality, orders, question_of
from vidweave.contra4.schema import LABELS, index_of
from vidweave.contra4.stage import Wrap, described
from vidweave.errors import ConfigError, PipelineError

__all__ = [
    "FORBIDDEN",
    "Filter",
    "Filters",
    "Quorum",
    "WordFilter",
    "agreement",
    "filter_rows",
    "has_forbidden_words",
    "passes",
    "with_formatted",
]

FORBIDDEN = (
    *("more than one person", "more than one object", "elements", "more than one input", "more than one animal"),
    *("similar", "rating", "score", "hear", "detail", "word", "animate", "movie", "action", "text", "verb", "noun"),
    *("more objects", "most objects", "most people", "more colors", "most colors", "most elements", "more elements"),
    *("quest", "caption", "sound", "descr", "sentenc", "visual", "image", "video", "audio", "3d", "point cloud"),
    "more people",
)
"""Substrings that a question must not contain, since they refer to the medium or the text; the 36 published ones."""

Quorum = Literal["majority", "unanimous"]

Filter = Literal["word", "majority", "unanimous", "majority_permute", "unanimous_permute"]
"""``word`` alone, or ``word`` plus agreement of most or all verifiers, in the given order or in every order."""

_FORBIDDEN = re.compile("|".join(map(re.escape, FORBIDDEN)))


def has_forbidden_words(question: str) -> bool:
    """Return whether the question contains a forbidden substring, also within words ("interaction")."""
    return _FORBIDDEN.search(question.lower()) is not None


def with_formatted(row: Row, verifiers: Sequence[str]) -> Row:
    """Add ``permutations`` and the answers and verdicts parsed again, as the published filters store them."""
    parsed = {f"answer_{name}_formatted": [_parse(text) for text in row[f"answer_{name}"]] for name in verifiers}
    answers = [_parse(text) for text in row["answers"]]
    permutations = [list(order) for order in orders(len(row["examples"]))]
    return {**row, "permutations": permutations, "answers_formatted": answers, **parsed}


@lru_cache(maxsize=4096)  # nearly all texts are one of four
def _parse(text: str) -> str:
    return parse_scene(text, "filters")


def agreement(row: Row, verifier: str) -> tuple[bool, bool]:
    """Return whether a verifier picks the answer in the given order, and whether it does in every order.

    Args:
        row: Row with the fields of `with_formatted`.
    """
    answer = row["answers_formatted"][0] if row["answers_formatted"] else ""
    verdicts = row[f"answer_{verifier}_formatted"]
    target = index_of(answer, len(row["examples"]))
    given = target is not None and bool(verdicts) and verdicts[0] == answer
    return given, target is not None and [text.strip() for text in verdicts] == _right(len(row["examples"]), target)


@cache
def _right(count: int, target: int) -> list[str]:
    """Return the label of scene `target` in each order of `count` scenes."""
    return [LABELS[order.index(target)] for order in orders(count)]


def passes(row: Row, verifiers: Sequence[str]) -> dict[str, bool]:
    """Return for each filter whether the row passes it, also per verifier (``NAME``, ``NAME_permute``).

    Args:
        row: Row with the fields of `with_formatted`.
    """
    word = not has_forbidden_words(question_of(row))
    agreed = [agreement(row, name) for name in verifiers]
    passed = {"word": word}
    for suffix, each in (("", [given for given, _ in agreed]), ("_permute", [always for _, always in agreed])):
        passed |= {f"{name}{suffix}": word and ok for name, ok in zip(verifiers, each, strict=True)}
        passed[f"majority{suffix}"] = word and 2 * sum(each) > len(each)
        passed[f"unanimous{suffix}"] = word and all(each)
    return passed


def filter_rows(rows: Iterable[Row], verifiers: Sequence[str]) -> dict[str, list[Row]]:
    """Return the rows that pass each filter, in order. Rows with two scenes of one modality pass no filter."""
    kept = [with_formatted(row, verifiers) for row in rows if not has_repeated_modality(row)]
    verdicts = [passes(row, verifiers) for row in kept]
    names = verdicts[0] if verdicts else []
    return {"raw": kept, **{name: list(compress(kept, [v[name] for v in verdicts])) for name in names}}


def _kind_of(verdict: str, num_scenes: int) -> str:
    """Return the category under which a verdict is counted."""
    if not verdict:
        return "nothing"
    return verdict if verdict in LABELS[:num_scenes] else "something else"


@dataclass(frozen=True, kw_only=True)
class WordFilter:
    """Settings of a stage that drops questions with forbidden words, e.g. before paying for verifiers."""

    name: ClassVar[str] = "words"
    scope: ClassVar[str] = "rows"

    def run(self, rows: Sequence[Row]) -> list[Row]:
        return [row for row in rows if not has_forbidden_words(question_of(row))]

    def with_engines(self, wrap: Wrap) -> Self:
        return self

    def describe(self) -> dict[str, Any]:
        return described(self)


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Settings of the stage.

    Attributes:
        verifiers: Names of the verifiers whose verdicts the rows hold.
        keep: The filter that a row must pass to be kept.
    """

    name: ClassVar[str] = "filters"
    scope: ClassVar[str] = "rows"
    verifiers: tuple[str, ...]
    keep: Filter = "unanimous_permute"

    def __post_init__(self) -> None:
        if self.keep not in get_args(Filter):
            raise ConfigError(f"keep must be one of {', '.join(get_args(Filter))}, got {self.keep!r}")
        if self.keep.startswith("majority") and len(self.verifiers) < 2:
            raise ConfigError(f"a majority needs at least two verifiers, got {len(self.verifiers)}")

    def run(self, rows: Sequence[Row]) -> list[Row]:
        self._check(rows)
        return filter_rows(rows, self.verifiers).get(self.keep, [])

    def tally(self, rows: Sequence[Row]) -> dict[str, int]:
        """Count ``passed FILTER`` rows and ``NAME says TEXT`` verdicts, which reveal a verifier that always says A.

        Verdicts without a request are not counted; refusals count as ``NAME says nothing``.
        """
        passed = {f"passed {name}": len(kept) for name, kept in filter_rows(rows, self.verifiers).items()}
        verdicts = Counter(
            f"{name} says {_kind_of(text, len(row['examples']))}"
            for row in rows
            for name in self.verifiers
            for text in row[f"answer_{name}"]
            if text != NOT_ASKED
        )
        return {**passed, **verdicts}

    def with_engines(self, wrap: Wrap) -> Self:
        return self

    def describe(self) -> dict[str, Any]:
        return described(self)

    def _check(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if missing := [name for name in self.verifiers if f"answer_{name}" not in row]:
                raise PipelineError(
                    f"row {row['id']} has no verdicts of {missing[0]!r}; run a verification stage with it first"
                )
