"""Stage: balance how often the answer stands at each position."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal

from vidweave.contra4.parsing import parse_scene
from vidweave.contra4.rows import Row, orders
from vidweave.contra4.schema import LABELS
from vidweave.contra4.stage import described

__all__ = ["Balance", "balance_rows", "fair_rows", "move_answer", "target_position"]


def target_position(index: int, size: int, scenes: int, *, whole_numbers: bool) -> int:
    """Return the position at which the answer of row `index` out of `size` rows is placed, by the published boundaries.

    Args:
        whole_numbers: For four scenes, round the boundaries down (used for rows not selected by similarity).
    """
    if whole_numbers and scenes == 4:
        borders: tuple[float, ...] = (size // 4, size // 2, 3 * size // 4)
    else:
        borders = {2: (0.5 * size,), 3: (0.33 * size, 0.66 * size), 4: (0.25 * size, 0.5 * size, 0.75 * size)}[scenes]
    return sum(index >= border for border in borders)


def move_answer(row: Row, source: int, target: int, *, leave_stale: bool = False) -> Row:
    """Move scene `source` to position `target`, keep the order of the others and set the answer to that ``Scene X``.

    Args:
        leave_stale: Change only scenes, modalities and answer, as published; the verdicts then refer to orders of the
            original row. Otherwise verdicts are moved to the matching order of the moved scenes.
    """
    order = [i for i in range(len(row["examples"])) if i != source]
    order.insert(target, source)
    moved = {
        **row,
        "examples": [row["examples"][i] for i in order],
        "modalities": [row["modalities"][i] for i in order],
        "answers": [LABELS[target], *row["answers"][1:]],
    }
    return moved if leave_stale else {**moved, **_follow(row, order, target)}


def _follow(row: Row, order: list[int], target: int) -> Row:
    before = _former_places(tuple(order))
    verdicts = {key: value for key, value in row.items() if key.startswith("answer_") and len(value) == len(before)}
    followed: Row = {key: [value[place] for place in before] for key, value in verdicts.items()}
    if "answers_formatted" in row:
        followed["answers_formatted"] = [LABELS[target], *row["answers_formatted"][1:]]
    return followed


@cache
def _former_places(order: tuple[int, ...]) -> list[int]:
    """For each order of the moved scenes, return the index of the original order that shows the same scenes."""
    places = {former: place for place, former in enumerate(orders(len(order)))}
    return [places[tuple(order[i] for i in new)] for new in orders(len(order))]


def balance_rows(rows: Iterable[Row], *, leave_stale: bool = False, lenient_length: bool = False) -> list[Row]:
    """Spread readable answers evenly over the positions, grouped by number of scenes, similarity rows first.

    Args:
        leave_stale: See `move_answer`.
        lenient_length: As published, drop a row whose scenes and modalities differ in length only if the number of
            scenes also disagrees with `q_type`.
    """
    groups: dict[tuple[int, bool], list[tuple[Row, int]]] = defaultdict(list)
    for row in filter(None, map(_readable, rows)):
        count = int(row["q_type"][-1])
        if _fits(row, count, lenient_length) and (source := _source(row)) is not None:
            groups[count, row["selection_type"] == "similarity"].append((row, source))
    balanced = []
    for count, is_similar in ((c, s) for c in (2, 3, 4) for s in (True, False)):
        group = groups[count, is_similar]
        for index, (row, source) in enumerate(group):
            target = target_position(index, len(group), count, whole_numbers=not is_similar)
            balanced.append(row if source == target else move_answer(row, source, target, leave_stale=leave_stale))
    return balanced


def fair_rows(rows: Iterable[Row]) -> list[Row]:
    """Select readable rows so that neither modality nor position predicts the answer; keep the given order.

    Within each set of modalities, each modality is the answer equally often (surplus rows are dropped), and the
    positions rotate for each such answer. The published method balances answers over the whole file, which is ordered
    by set of modalities, so the set still predicts the position.
    """
    read = [(row, source) for row in filter(None, map(_readable, rows)) if (source := _source(row)) is not None]
    kinds = [(*sorted(row["modalities"]), row["modalities"][source]) for row, source in read]
    counts = Counter(kinds)
    starts = {kind: place for place, kind in enumerate(counts)}  # so that small kinds do not all start with A
    taken: Counter[tuple[str, ...]] = Counter()
    kept = []
    for (row, source), kind in zip(read, kinds, strict=True):
        scenes = len(kind) - 1
        if taken[kind] < min(counts[*kind[:-1], modality] for modality in kind[:-1]):
            target = (taken[kind] + starts[kind]) % scenes
            kept.append(row if source == target else move_answer(row, source, target))
            taken[kind] += 1
    return kept


def _readable(row: Row) -> Row | None:
    """The row with only its readable answers; None if there are none."""
    labels = [label for text in row["answers"] if (label := parse_scene(text, "balance"))]
    return {**row, "answers": labels} if labels else None


def _source(row: Row) -> int | None:
    """Index of the answering scene; None if the answer names a scene that does not exist."""
    place = LABELS.index(row["answers"][0])
    return place if place < len(row["examples"]) else None


def _fits(row: Mapping[str, Any], count: int, lenient: bool) -> bool:
    scenes, modalities = len(row["examples"]), len(row["modalities"])
    if lenient:
        return modalities == scenes or scenes == count
    return modalities == scenes == count


@dataclass(frozen=True, kw_only=True)
class Balance:
    """Settings of the stage.

    Attributes:
        style: ``published``: positions alone (`balance_rows`); ``fair``: also modalities (`fair_rows`).
        leave_stale, lenient_length: Defects of the released code, see `move_answer` and `balance_rows`; for
            ``published`` only.
    """

    name: ClassVar[str] = "balance"
    scope: ClassVar[str] = "file"
    style: Literal["published", "fair"] = "published"
    leave_stale: bool = False
    lenient_length: bool = False

    def run_all(self, rows: Iterable[Row]) -> Iterator[Row]:
        if self.style == "fair":
            yield from fair_rows(rows)
        else:
            yield from balance_rows(rows, leave_stale=self.leave_stale, lenient_length=self.lenient_length)

    def describe(self) -> dict[str, Any]:
        return described(self)
