"""Write one query's prompt: walk the parts of a layout and append ids and slots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidweave.errors import ModalityError, QueryError, ShapeError
from vidweave.language.parts import EachScene, EachSegment, Part, Slot, Special, Text, When
from vidweave.language.wording import Wording
from vidweave.types import Query

__all__ = ["RowWriter"]

SlotName = tuple[str, int, int | None]


class RowWriter:
    """Builder of one row of a plan.

    Args:
        query: The query to write.
        wording: Tokenizes the texts.
        segments: (block, scene) → number of segments of this item, for present blocks.
        slots: Slot name → number, shared by all rows of a plan; new names are added.
        fields: Values of {question}, {options} and {labels}.
    """

    def __init__(
        self,
        query: Query,
        wording: Wording,
        segments: Mapping[tuple[str, int], int],
        slots: dict[SlotName, int],
        fields: dict[str, Any],
    ) -> None:
        self.query, self.wording, self.segments, self.slots = query, wording, segments, slots
        self.fields = fields
        self.ids: list[int] = []
        self.slot: list[int] = []
        self.is_target: list[bool] = []
        self.notes: list[str] = []
        self._placed: set[tuple[str, int]] = set()
        self._scene: int | None = None  # inside EachScene
        self._segment: tuple[str, int, int] | None = (
            None  # inside EachSegment: block of the loop, segment, number of segments
        )

    def write_all(self, parts: tuple[Part, ...], fields: Mapping[str, Any] | None = None) -> None:
        """Write `parts` in order; `fields` override the row's own."""
        outer, self.fields = self.fields, self.fields | dict(fields or {})
        for position, part in enumerate(parts):
            if not self._is_spelled_out(part, parts[position + 1 :]):
                self._write(part)
        self.fields = outer

    def _is_spelled_out(self, part: Part, following: tuple[Part, ...]) -> bool:
        """Whether the next text already starts with the begin token, as every turn does in ChatML of some models."""
        if not isinstance(part, Special) or part.token != "bos":
            return False
        words = next((p.text for p in following if isinstance(p, Text)), "")
        token = getattr(self.wording.tokenizer, "bos_token", None)  # minimal tokenizers only have the id
        return bool(token) and words.startswith(token)

    def add_answer(self, ids: list[int]) -> None:
        """Append an earlier answer, which is not trained on."""
        self._put(ids)

    def add_target(self, ids: list[int]) -> None:
        """Append the answer to train on."""
        self._put(ids, target=True)

    def add_mentioned(self, ids: list[int], count: int) -> None:
        """Append an answer, but mark the first occurrence of its first `count` ids after the last block as target."""
        self._put(ids)
        first = max((i for i, slot in enumerate(self.slot) if slot >= 0), default=-1) + 1
        start = next(i for i in range(first, len(self.ids)) if self.ids[i : i + count] == ids[:count])
        self.is_target[start : start + count] = [True] * count

    def check_complete(self) -> None:
        """Raise ModalityError unless every block of the item has a place."""
        for block, scene in self.segments:
            if (block, scene) not in self._placed:
                raise ModalityError(
                    f"{self._where(block, scene)} reaches no token: the prompt layout has no place for it"
                )

    def _write(self, part: Part) -> None:
        match part:
            case Text():
                ids, note = self.wording.fit(part, self.fields)
                self._put(ids)
                self.notes += [note] if note else []
            case Special():
                self._put(self.wording.special(part.token, part.if_any))
            case Slot():
                self._write_slot(part)
            case EachSegment():
                self._write_segments(part)
            case EachScene():
                self._write_scenes(part)
            case When():
                has = all(map(self._has, part.present)) and not any(map(self._has, part.absent))
                self.write_all(part.parts if has else part.otherwise)

    def _put(self, ids: list[int], *, target: bool = False) -> None:
        self.ids += ids
        self.slot += [-1] * len(ids)
        self.is_target += [target] * len(ids)

    def _write_slot(self, part: Slot) -> None:
        count = self._count(part)
        if count == 0:
            return
        segment = None
        if self._segment is not None:
            block, segment, expected = self._segment
            if count != expected:
                raise ShapeError(
                    f"block {part.block!r} has {count} segments where {block!r} has {expected}; they share a loop"
                )
        name = (part.block, self._scene_number(), segment)
        self.ids.append(-1)
        self.slot.append(self.slots.setdefault(name, len(self.slots)))
        self.is_target.append(False)
        self._placed.add(name[:2])

    def _write_segments(self, part: EachSegment) -> None:
        count = self._count(part)
        parts = part.single if part.single is not None and count == 1 else part.parts
        for segment in range(count):
            self._segment = (part.block, segment, count)
            self._within({"index": str(segment + 1)}, parts)
        self._segment = None

    def _write_scenes(self, part: EachScene) -> None:
        for number, scene in enumerate(self.query.scenes):
            self._scene = number
            parts = part.first if number == 0 and part.first is not None else part.parts
            self._within({"label": scene.label}, parts)
        self._scene = None

    def _within(self, fields: dict[str, Any], parts: tuple[Part, ...]) -> None:
        outer, self.fields = self.fields, self.fields | fields
        self.write_all(parts)
        self.fields = outer

    def _has(self, block: str) -> bool:
        scenes = range(len(self.query.scenes)) if self._scene is None else [self._scene]
        return any((block, scene) in self.segments for scene in scenes)

    def _count(self, part: Slot | EachSegment) -> int:
        """Return the number of segments of the part's block here; 0 if it is absent and optional."""
        scene = self._scene_number()
        count = self.segments.get((part.block, scene), 0)
        if count == 0 and not part.optional:
            given = ", ".join(sorted({block for block, s in self.segments if s == scene})) or "none"
            raise ModalityError(
                f"{self._where(part.block, scene)} is missing: the prompt has a place for it; given: {given}"
            )
        return count

    def _scene_number(self) -> int:
        if self._scene is not None:
            return self._scene
        if len(self.query.scenes) > 1:
            raise QueryError(f"the query has {len(self.query.scenes)} scenes, but this model's prompt takes only one")
        return 0

    def _where(self, block: str, scene: int) -> str:
        label = self.query.scenes[scene].label if scene < len(self.query.scenes) else ""
        return f"block {block!r}" + (f" of scene {label!r}" if label else "")
