"""Stage: the answer stands at each position equally often."""

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
    """Where the answer of row `index` of a group of `size` rows shall stand; published borders.

    Args:
        whole_numbers: Four scenes: borders are rounded down (rows that are not of the similarity kind).
    """
    if whole_numbers and scenes == 4:
        borders: tuple[float, ...] = (size // 4, size // 2, 3 * size // 4)
    else:
        borders = {2: (0.5 * size,), 3: (0.33 * size, 0.66 * size), 4: (0.25 * size, 0.5 * size, 0.75 * size)}[scenes]
    return sum(index >= border for border in borders)


def move_answer(row: Row, source: int, target: int, *, leave_stale: bool = False) -> Row:
    """The row with scene `source` at `target`, the others in their order; its answer is ``Scene X`` of the target.

    Args:
        leave_stale: Leave everything but scenes, modalities and answer as it was, as published: verdicts then belong
            to orders of the former row. Otherwise they are put where the same order of scenes now stands.
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
    """For each order of the moved scenes, the place of the order of the former ones that shows the same."""
    places = {former: place for place, former in enumerate(orders(len(order)))}
    return [places[tuple(order[i] for i in new)] for new in orders(len(order))]


def balance_rows(rows: Iterable[Row], *, leave_stale: bool = False, lenient_length: bool = False) -> list[Row]:
    """Rows whose answer can be read, with answers spread over the positions; by number of scenes, similarity first.

    Args:
        leave_stale: See `move_answer`.
        lenient_length: Drop a row whose lists of scenes and modalities differ in length only if the number of scenes
            is not that of `q_type` either, as published.
    """
    groups: dict[tuple[int, bool], list[tuple[Row, int]]] = defaultdict(list)
    for row in filter(None, map(_readable, rows)):
        count = int(row["q_type"][-1])
        if _fits(row, count, lenient_length) and (source := _source(row)) is not None:
            groups[count, row["selection_type"] == "similarity"].append((row, source))
    found = []
    for count, is_similar in ((c, s) for c in (2, 3, 4) for s in (True, False)):
        group = groups[count, is_similar]
        for index, (row, source) in enumerate(group):
            target = target_position(index, len(group), count, whole_numbers=not is_similar)
            found.append(row if source == target else move_answer(row, source, target, leave_stale=leave_stale))
    return found


def fair_rows(rows: Iterable[Row]) -> list[Row]:
    """Readable rows such that neither modalities nor positions tell the answer, in the order given.

    Within each set of modalities, each modality is the answer equally often (rows above the smallest number are
    dropped), and for each such answer the positions take turns. The published way spreads answers over a whole file,
    whose rows stand set by set: the set then tells the position.
    """
    read = [(row, source) for row in filter(None, map(_readable, rows)) if (source := _source(row)) is not None]
    kinds = [(*sorted(row["modalities"]), row["modalities"][source]) for row, source in read]
    counts = Counter(kinds)
    starts = {kind: place for place, kind in enumerate(counts)}  # so that small kinds do not all begin with A
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
    """The row with the answers that can be read; None without any."""
    labels = [label for text in row["answers"] if (label := parse_scene(text, "balance"))]
    return {**row, "answers": labels} if labels else None


def _source(row: Row) -> int | None:
    """Where the answer stands; None if it is a scene that there is not."""
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
