"""Batches and objectives of the two stages: the span from motion, then answers from few frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.processor import Processor
from vidweave.nn.span_selection import inside_spans, pick_candidates
from vidweave.recipes.tiny.videotgb_parts.clips import EncodedClip
from vidweave.selectors.motion_peaks import MotionPeaksSelectorConfig
from vidweave.tiny.prompts import answer_loss, plan_prompts
from vidweave.training.pseudo_labels import PseudoLabel
from vidweave.types import Features, PromptPlan, Selection, TextTokens

__all__ = ["AnswersFromFewFrames", "SpanFromMotion", "collate_frames", "collate_motion"]

POLICIES = ("label", "uniform", "random", "peaks")


@dataclass(frozen=True)
class MotionBatch:
    """Motion of clips, their questions, and the spans (B, 1, 2) in seconds."""

    motion: Features
    text: TextTokens
    spans: Tensor

    def to(self, device: Any) -> MotionBatch:
        return MotionBatch(self.motion.to(device), self.text.to(device), self.spans.to(device))


def collate_motion(processor: Processor, source: str, examples: list[Any]) -> MotionBatch:
    """Collate motion, questions and spans of a batch; each clip is shifted by a few cells."""
    shifted = [_shifted(clip.motion[source], rng) for clip, _, _, rng in examples]
    maps = torch.from_numpy(np.stack(shifted))
    steps = torch.from_numpy(np.stack([clip.steps for clip, *_ in examples])).float()
    values = maps.flatten(2)[:, :, None]  # one patch: the whole map
    item = torch.arange(len(examples))
    motion = Features(values, torch.ones(values.shape[:3], dtype=torch.bool), steps, item, torch.zeros_like(item))
    spans = torch.tensor([[[label.start, label.end]] for _, _, label, _ in examples])
    return MotionBatch(motion, processor.read_text("selector", [query.text for _, query, *_ in examples]), spans)


def _shifted(maps: np.ndarray, rng: np.random.Generator, most: int = 3) -> np.ndarray:
    """Shift maps (L, 2, H, W) by up to `most` cells, filled with zero motion: a kind of motion is the same anywhere."""
    down, right = rng.integers(-most, most + 1, 2)
    height, width = maps.shape[-2:]
    wide = np.pad(maps, ((0, 0), (0, 0), (most, most), (most, most)))
    return wide[:, :, most - down : most - down + height, most - right : most - right + width]


class SpanFromMotion:
    """Loss of the bridge on the span of the pseudo label."""

    def __call__(self, model: VideoLanguageModel, batch: MotionBatch) -> dict[str, Tensor]:
        middles = batch.motion.seconds.mean(-1)
        real = torch.ones_like(middles, dtype=torch.bool)
        selection = model.selector(batch.motion, batch.text, middles, real, k=1)
        return {"loss": model.selector.loss(selection, batch.spans)}


@dataclass(frozen=True)
class FrameBatch:
    """Features of the selected frames, and prompts with answers."""

    features: Features
    plan: PromptPlan

    def to(self, device: Any) -> FrameBatch:
        return FrameBatch(self.features.to(device), self.plan.to(device))


def collate_frames(processor: Processor, examples: list[Any]) -> FrameBatch:
    """Collate features of the frames selected by one of the POLICIES, padded, and prompts with answers."""
    rows = [_selected(clip, label, rng) for clip, _, label, rng in examples]
    longest = max(map(len, rows))
    width = examples[0][0].frames.shape[1:]
    values, seconds = torch.zeros(len(rows), longest, *width), torch.zeros(len(rows), longest, 2)
    mask = torch.zeros(len(rows), longest, width[0], dtype=torch.bool)
    for i, ((clip, *_), row) in enumerate(zip(examples, rows, strict=True)):
        values[i, : len(row)] = torch.from_numpy(clip.frames[row]).float()
        seconds[i, : len(row)] = torch.from_numpy(clip.times[row]).float()[:, None]
        mask[i, : len(row)] = True
    item = torch.arange(len(rows))
    answers = [label.answer for _, _, label, _ in examples]
    plan = plan_prompts(processor, [query.text for _, query, *_ in examples], answers)
    return FrameBatch(Features(values, mask, seconds, item, torch.zeros_like(item)), plan)


def _selected(clip: EncodedClip, label: PseudoLabel, rng: np.random.Generator) -> list[int]:
    """Select the indices of 4 or 8 frames by one of the POLICIES."""
    k, policy = int(rng.choice([4, 8])), POLICIES[rng.integers(len(POLICIES))]
    times = torch.from_numpy(clip.times)[None]
    real = torch.ones_like(times, dtype=torch.bool)
    if policy == "label":
        span = torch.tensor([[[label.start, label.end]]], dtype=times.dtype)
        return pick_candidates(inside_spans(times, span, torch.ones(1, 1, dtype=torch.bool)), real, k)[0][0].tolist()
    if policy == "uniform":
        return pick_candidates(torch.zeros_like(times), real, k)[0][0].tolist()
    if policy == "random":
        return sorted(rng.choice(times.shape[1], k, replace=False).tolist())
    values = torch.from_numpy(clip.motion["motion_vectors"]).flatten(1)[None, :, None]
    steps = torch.from_numpy(clip.steps)[None]
    zero = torch.zeros(1, dtype=torch.long)
    motion = Features(values, torch.ones(values.shape[:3], dtype=torch.bool), steps, zero, zero)
    selection: Selection = MotionPeaksSelectorConfig().build()(motion, None, times, real, k=k)
    return np.searchsorted(clip.times, selection.seconds[0].numpy()).tolist()


class AnswersFromFewFrames:
    """Loss of the frozen Llama's answers from few frames."""

    def __call__(self, model: VideoLanguageModel, batch: FrameBatch) -> dict[str, Tensor]:
        features = batch.features
        blocks, _ = model.connector({"video": features}, features.item, features.scene)
        return {"loss": answer_loss(model, batch.plan, blocks["video"])}
