"""Attribute an answer to modalities: its probability with each modality left out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from vidweave.errors import ModalityError
from vidweave.model.frame_counts import FrameCounts
from vidweave.pipelines.slot import SlotPipeline
from vidweave.types import Answer, Clip, Query

__all__ = ["leave_one_out"]


@torch.no_grad()
def leave_one_out(
    pipe: SlotPipeline, query: Query, answer: Answer, *, num_frames: FrameCounts | None = None
) -> list[dict[str, Any]]:
    """One entry for the whole query (`modality` None), then one per modality that its clips have.

    With options, `probability` is the answer's among them; without, that of writing exactly this answer. `change` is
    its change when the modality is left out. A modality without which the model cannot answer has `needed` instead.
    """
    whole = _probability(pipe, query, answer, num_frames)
    entries: list[dict[str, Any]] = [{"modality": None, "probability": whole}]
    for modality in dict.fromkeys(name for scene in query.scenes for name in scene.clip):
        without = _without(query, modality)
        try:
            if without is None:
                raise ModalityError("nothing would be left")
            probability = _probability(pipe, without, answer, num_frames)
        except ModalityError:
            entries.append({"modality": modality, "needed": True})
            continue
        entries.append({"modality": modality, "probability": probability, "change": probability - whole})
    return entries


def _without(query: Query, modality: str) -> Query | None:
    scenes = []
    for scene in query.scenes:
        left = {name: source for name, source in scene.clip.items() if name != modality}
        if not left:
            return None
        scenes.append(replace(scene, clip=Clip(**left, **scene.clip.settings)))
    return replace(query, scenes=tuple(scenes))


def _probability(pipe: SlotPipeline, query: Query, answer: Answer, num_frames: FrameCounts | None) -> float:
    inputs, model, processor = pipe.inputs([query], num_frames=num_frames), pipe.model, pipe.processor
    if not query.options:
        (score,) = model.score(inputs, [[processor.answer_ids(answer.text)]])[0] if answer.text.strip() else [0.0]
        return math.exp(score)
    scores = torch.tensor(model.score(inputs, processor.option_ids([query]))[0], dtype=torch.float64)
    return float(scores.softmax(0)[list(query.options).index(answer.text)])
