"""Queries with opened media and the selector's inputs, before anything is decoded for the encoders."""

# Axes: R rows = (item, scene) pairs with frames, C candidate timestamps, L motion steps

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from torch import Tensor

from vidweave.model.gather import OpenScene, StreamRow
from vidweave.types import Features, FrameNeed, Query, SelectorInputs, StreamInputs, TextTokens

__all__ = ["RULE_SELECTIONS", "Prepared"]

# Selectors that leave the placing of frames to each stream's own rule.
RULE_SELECTIONS = ("uniform", "all_frames")


@dataclass
class Prepared:
    """Queries with their media opened and indexed, nothing decoded for the encoders yet.

    `candidates` (R, C) are the times a selector may choose from, `mask` marks the real ones, `item` and `scene` (R,)
    say whose they are; `motion` is the selector's stream, where it has one, `motion_rows` what is known about it,
    and `energy` (R, L), the amount of motion in each step, once computed.
    """

    queries: list[Query]
    scenes: dict[tuple[int, int], OpenScene]
    candidates: Tensor
    mask: Tensor
    item: Tensor
    scene: Tensor
    text: dict[str, TextTokens]
    motion: StreamInputs | None = None
    motion_rows: list[tuple[int, int, StreamRow]] = field(default_factory=list)
    energy: Tensor | None = None
    needs: dict[str, FrameNeed] = field(default_factory=dict)

    def selector_inputs(self, k: int | None = None, target_spans: Tensor | None = None) -> SelectorInputs:
        """Inputs of the selector; k defaults to the largest number of frames that a stream needs."""
        if k is None:
            k = max((need.num_frames or 1 for need in self.needs.values()), default=1)
        text = self.text.get("selector")
        if text is not None:
            text = TextTokens(text.ids[self.item], text.mask[self.item])
        return SelectorInputs(
            self.motion, text, self.candidates, self.mask, self.item, self.scene, k, target_spans=target_spans
        )

    def keep_motion(self, features: Features) -> None:
        """Have the motion at hand as encoded `features`, so that it is encoded once."""
        assert self.motion is not None
        if self.motion.entries:
            motion = features.to("cpu")
            self.motion = StreamInputs(
                None, motion.mask.any(2), motion.seconds, motion.item, motion.scene, self.motion.modality, motion
            )

    def close(self) -> None:
        """Close all files."""
        for scene in self.scenes.values():
            scene.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
