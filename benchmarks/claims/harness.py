"""Building blocks of claims: rows that answer the same items, and statistical criteria.

Rules. Every row answers the same items in the same order, so that rows are paired. Each criterion has a p-value: "at
chance" by an exact binomial test of the accuracy of the best constant answer, "at least" by its one-sided form, "loses at
most" and "above" by Tango's score test of pairs. Holm's procedure corrects for the number of criteria: a claim whose
criteria are all true fails in at most 1% of runs, for any number of criteria. The cost is printed: the power of a
criterion is the probability that it fails if the true value is 10 points off.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from vidweave.data.schema import Example
from vidweave.evaluation.metrics import is_correct
from vidweave.evaluation.runner import ask, progress_bar
from vidweave.evaluation.significance import holm
from vidweave.evaluation.statistics import CONFIDENCE, EFFECT, Verdict, at_chance, at_least, loses_at_most, wilson
from vidweave.types import Answerer, Clip, Query

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Claim", "Criterion"]

MOST_COLUMNS = 8  # maximum number of rows side by side on a terminal


ALPHA = 1 - CONFIDENCE


@dataclass(frozen=True)
class Criterion:
    """One criterion of a claim.

    Attributes:
        value: The measured result; `threshold`: the value that it is compared with.
        ok: Whether it holds, corrected for the number of criteria.
        p_value: Probability of results at least as far from the criterion, if it is true.
        power: Probability that it is rejected in this claim if the true value is `EFFECT` off; at the level of the first
            rejection, a lower bound.
    """

    name: str
    value: float
    threshold: float
    ok: bool
    p_value: float
    power: float


@dataclass
class Claim:
    """A comparison: items, rows of answers, criteria about the rows.

    Attributes:
        name: The claim's name.
        items: Examples by id, without their clips.
        rows: Row name → item id → answer.
        verdicts: Name of a criterion → result of its test, in the order of the calls.
        unjudged: Question types that are printed and not judged.
        facts: Additional table, row by row: name → column → value.
    """

    name: str
    progress: bool = True
    batch_size: int = 32
    items: dict[str, Example] = field(default_factory=dict)
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    unjudged: tuple[str, ...] = ()
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def answer(self, row: str, answerer: Answerer, examples: Sequence[Example]) -> None:
        """Answer `examples` (created one batch at a time, if the sequence is lazy) with `answerer` as row `row`."""
        with progress_bar(f"{self.name}: {row}", len(examples), show=self.progress) as advance:
            for first in range(0, len(examples), self.batch_size):
                batch = [examples[i] for i in range(first, min(first + self.batch_size, len(examples)))]
                for example, answer in zip(batch, ask(answerer, batch, {"trace": False}), strict=True):
                    self.enter(row, example, answer.text)
                advance(len(batch))

    def enter(self, row: str, example: Example, answer: str) -> None:
        """Add one answer to one item, for claims that share work between rows."""
        self.rows.setdefault(row, {})[example.id] = answer
        kept = self.items.setdefault(example.id, _without_clip(example))
        assert kept.answer == example.answer, f"{example.id} has two answers"

    def scores(self, row: str, question_type: str | None = None) -> list[float]:
        """Score each answered item of a question type (None: of all) as 1.0 or 0.0, in the order of the items."""
        answers = self.rows[row]
        items = [
            item for item in self.items.values() if item.id in answers and question_type in (None, item.question_type)
        ]
        return [float(is_correct(answers[item.id], item.answer)) for item in items]

    def question_types(self, row: str) -> list[str]:
        """List the question types that the row answers, in the order of the items."""
        return list(dict.fromkeys(item.question_type for item in self.items.values() if item.id in self.rows[row]))

    def chance(self, question_type: str) -> float:
        """Accuracy of the best constant answer: the most frequent one, or always the first option."""
        members = [item for item in self.items.values() if item.question_type == question_type]
        even = sum(1 / len(item.query.options) for item in members) / len(members)
        texts = [item.answer for item in members]
        is_fixed = len({frozenset(item.query.options) for item in members}) == 1
        return max(even, max(texts.count(text) for text in set(texts)) / len(members)) if is_fixed else even

    # -- criteria

    def check(self, name: str, verdict: Verdict) -> None:
        """Add a verdict as a criterion."""
        assert name not in self.verdicts, f"criterion {name!r} is added twice"
        self.verdicts[name] = verdict

    @property
    def criteria(self) -> list[Criterion]:
        """List all criteria, corrected for their number."""
        rejected = holm([verdict.p_value for verdict in self.verdicts.values()], ALPHA)
        level = ALPHA / max(1, len(self.verdicts))
        return [
            Criterion(name, v.value, v.threshold, not is_rejected, v.p_value, v.power(level))
            for (name, v), is_rejected in zip(self.verdicts.items(), rejected, strict=True)
        ]

    def each_at_least(self, row: str, question_types: Iterable[str], threshold: float) -> None:
        """Require that every question type of a row reaches `threshold`."""
        for question_type in question_types:
            self.check(
                f"{row}: {question_type} at least {threshold:.0%}", at_least(self.scores(row, question_type), threshold)
            )

    def each_at_chance(self, row: str, question_types: Iterable[str]) -> None:
        """Require that every question type of a row is at chance, and so is their mean."""
        question_types = list(question_types)
        if not question_types:
            return
        for question_type in question_types:
            scores = self.scores(row, question_type)
            self.check(
                f"{row}: {question_type} at chance",
                at_chance(int(sum(scores)), len(scores), self.chance(question_type)),
            )
        scores = [self.scores(row, question_type) for question_type in question_types]
        total = sum(map(len, scores))
        chance = (
            sum(self.chance(question_type) * len(s) for question_type, s in zip(question_types, scores, strict=True))
            / total
        )
        self.check(f"{row}: all these question types at chance", at_chance(int(sum(map(sum, scores))), total, chance))

    def each_loses_at_most(self, row: str, to: str, question_types: Iterable[str], loss: float) -> None:
        """Require that every question type of a row is at most `loss` below the same type of row `to`."""
        for question_type in question_types:
            verdict = loses_at_most(self.scores(row, question_type), self.scores(to, question_type), loss)
            self.check(f"{row}: {question_type} loses at most {loss:.0%} to {to}", verdict)

    def each_gains_at_least(self, row: str, over: str, question_types: Iterable[str], gain: float) -> None:
        """Require that every question type of a row is at least `gain` above the same type of row `over`."""
        for question_type in question_types:
            verdict = loses_at_most(self.scores(row, question_type), self.scores(over, question_type), -gain)
            self.check(f"{row}: {question_type} at least {gain:.0%} above {over}", verdict)

    def gains_at_least(self, row: str, over: str, gain: float) -> None:
        """Require that a row is at least `gain` above row `over`, over all its items."""
        verdict = loses_at_most(self.scores(row), self.scores(over), -gain)
        self.check(f"{row}: at least {gain:.0%} above {over}", verdict)

    def all_lose_at_most(self, row: str, to: str, loss: float) -> None:
        """Require that a row is at most `loss` below row `to`, over all its items."""
        self.check(f"{row}: loses at most {loss:.0%} to {to}", loses_at_most(self.scores(row), self.scores(to), loss))

    # -- results

    @property
    def ok(self) -> bool:
        """Whether every criterion holds; a claim without criteria fails."""
        criteria = self.criteria
        return bool(criteria) and all(criterion.ok for criterion in criteria)

    def to_dict(self) -> dict[str, Any]:
        """Export JSON data: claim, rows, criteria and one prediction per item with the answer of every row."""
        return {
            "claim": self.name,
            "rows": list(self.rows),
            "criteria": [asdict(criterion) for criterion in self.criteria],
            "unjudged": list(self.unjudged),
            "facts": self.facts,
            "predictions": [
                {
                    "id": item.id,
                    "question_type": item.question_type,
                    "question": item.query.text,
                    "options": list(item.query.options),
                    "answer": item.answer,
                    "predictions": {row: answers[item.id] for row, answers in self.rows.items() if item.id in answers},
                }
                for item in self.items.values()
            ],
        }

    def tables(self) -> list[RenderableType]:
        """Format the accuracies of all rows and the criteria for a terminal."""
        accuracies = [self._accuracy_table()] if len(self.rows) <= MOST_COLUMNS else self._tables_by_question_type()
        return [*accuracies, *([self._fact_table()] if self.facts else []), self._criteria_table()]

    def _accuracy_table(self) -> RenderableType:
        """Build a table with a line per question type and a column per row."""
        from rich.table import Table

        table = Table("question type", "chance", *self.rows, title=self._title)
        for question_type in dict.fromkeys(item.question_type for item in self.items.values()):
            cells = (self._cell(row, question_type) for row in self.rows)
            table.add_row(self._marked(question_type), f"{self.chance(question_type):.1%}", *cells)
        return table

    def _tables_by_question_type(self) -> list[RenderableType]:
        """Build, for many rows, a table for those with the same question types, with a line per row."""
        from rich.table import Table

        groups: dict[tuple[str, ...], list[str]] = {}
        for row in self.rows:
            groups.setdefault(tuple(self.question_types(row)), []).append(row)
        tables: list[RenderableType] = []
        for question_types, rows in groups.items():
            table = Table("row", *(self._marked(question_type) for question_type in question_types), title=self._title)
            table.add_row(
                "chance", *(f"{self.chance(question_type):.1%}" for question_type in question_types), end_section=True
            )
            for row in rows:
                table.add_row(row, *(self._cell(row, question_type) for question_type in question_types))
            tables.append(table)
        return tables

    @property
    def _title(self) -> str:
        return f"{self.name}: accuracy and its 99% interval"

    def _marked(self, question_type: str) -> str:
        return question_type + (" (unjudged)" if question_type in self.unjudged else "")

    def _cell(self, row: str, question_type: str) -> str:
        scores = self.scores(row, question_type)
        if not scores:
            return "-"
        interval = wilson(int(sum(scores)), len(scores), CONFIDENCE)
        return f"{sum(scores) / len(scores):.1%} ({interval.low:.0%} to {interval.high:.0%})"

    def _fact_table(self) -> RenderableType:
        from rich.table import Table

        columns = list(dict.fromkeys(column for row in self.facts.values() for column in row))
        table = Table("", *columns, title=f"{self.name}: further figures")
        for name, row in self.facts.items():
            table.add_row(
                name, *(f"{row[c]:,}" if isinstance(row.get(c), int) else str(row.get(c, "-")) for c in columns)
            )
        return table

    def _criteria_table(self) -> RenderableType:
        from rich.table import Table

        table = Table(
            *("criterion", "value", "threshold", "p", f"power at {EFFECT:.0%}", "holds"),
            title=f"{self.name}: {'holds' if self.ok else 'FAILS'}",
            caption=f"p values are corrected for {len(self.verdicts)} criteria (Holm, {ALPHA:.0%} in all); power: probability that "
            f"a criterion fails if the truth is {EFFECT:.0%} off",
        )
        for c in self.criteria:
            figures = (f"{c.value:.2%}", f"{c.threshold:.2%}", f"{c.p_value:.2g}", f"{c.power:.0%}")
            table.add_row(c.name, *figures, "yes" if c.ok else "[bold red]NO[/]")
        return table


def _without_clip(example: Example) -> Example:
    """Keep only the data of the report: thousands of clips would fill the memory."""
    return replace(example, query=Query.about(Clip("not kept"), example.query.text, example.query.options))
