"""Encoded clips: features of several encoders, the tokens of tiny-base, and the labels of the special encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.cache import module_fingerprint
from vidweave.model.processor import Processor
from vidweave.pipelines.slot import SlotPipeline
from vidweave.systems.merv.tiny import (
    tiny_merv,
)
from vidweave.tiny.fact_vectors import FactVectors
from vidweave.tiny.prompts import plan_prompts
from vidweave.tiny.scenes import NOTHING, ClipExample, train_scene
from vidweave.tiny.sources import stack_features
from vidweave.tiny.token_classes import SPEEDS
from vidweave.toyworld import attributes as a
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import ToyScene
from vidweave.types import Clip, Features, PrecomputedFeatures, PromptPlan, Query

__all__ = [
    "Batch",
    "ClipFeatures",
    "ClipTokens",
    "NUM_FACTS",
    "base_tokens",
    "collate",
    "fact_vectors",
    "special_labels",
    "with_facts",
]

DESCRIBE = "Describe the clip."


def special_labels(scene: ToyScene) -> Tensor:
    """Labels (4, 2): texture and speed of the object in each quarter, NOTHING without an object, or for a still one's speed."""
    labels = torch.full((4, 2), NOTHING)
    for obj in scene.objects:
        speed = NOTHING if obj.motion == "still" else SPEEDS.index(obj.speed)
        labels[obj.quarter] = torch.tensor([a.TEXTURES.index(obj.texture), speed])
    return labels


@dataclass(frozen=True)
class ClipTokens:
    """Encoded clip: features per stream, the tokens of tiny-base, the labels of the special encoders, and the features
    behind tiny-base's tokens if no stream has them."""

    features: dict[str, PrecomputedFeatures]
    tokens: Tensor
    labels: Tensor
    general: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """Clips of several streams, tokens of tiny-base, labels, and questions about them."""

    features: dict[str, Features]
    tokens: Tensor
    labels: Tensor
    clip_of: Tensor
    questions: PromptPlan

    def to(self, device: Any) -> Batch:
        features = {name: value.to(device) for name, value in self.features.items()}
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "features"}
        return Batch(features=features, **moved)


def collate(processor: Processor, examples: Sequence[ClipExample]) -> Batch:
    """Collate clips with their questions."""
    pairs = [(clip, question) for clip, example in enumerate(examples) for question in example.questions]
    streams = examples[0].clip.features
    num_segments = len(streams) if processor.spec.connector.fusion.kind == "concat" else 1
    answers = [question.answer for _, question in pairs]
    plan = plan_prompts(processor, [question.text for _, question in pairs], answers, num_segments=num_segments)
    return Batch(
        features={name: stack_features([example.clip.features[name] for example in examples]) for name in streams},
        tokens=torch.stack([example.clip.tokens for example in examples]).float(),
        labels=torch.stack([example.clip.labels for example in examples]),
        clip_of=torch.tensor([clip for clip, _ in pairs]),
        questions=plan,
    )


class ClipFeatures:
    """Features of some encoders for the first training scenes, and the tokens of tiny-base; stored on disk for all rows."""

    def __init__(self, encoders: Mapping[str, nn.Module], base: VideoLanguageModel, folder: Path, clips: int) -> None:
        self._features = {name: _features(name, encoder, folder, clips) for name, encoder in encoders.items()}
        self._general = self._features.get("general") or _features("general", base.encoders["rgb"], folder, clips)
        self._base = base
        self._keeps_general = "general" not in self._features

    @torch.no_grad()
    def __call__(self, scene: ToyScene) -> ClipTokens:
        """Load the features of training scene number `scene.seed`."""
        row = scene.seed
        features = {
            name: PrecomputedFeatures(f["values"][row].numpy(), f["seconds"][row].numpy())
            for name, f in self._features.items()
        }
        values = self._general["values"][row]
        general = stack_features([PrecomputedFeatures(values.numpy(), self._general["seconds"][row].numpy())])
        blocks, _ = self._base.connector({"video": general}, general.item, general.scene)
        kept = values if self._keeps_general else None
        return ClipTokens(features, blocks["video"].values[0, 0], special_labels(scene), kept)


@torch.no_grad()
def _features(name: str, encoder: nn.Module, folder: Path, clips: int) -> dict[str, Tensor]:
    """Encode features (clips, T, N, C) in half precision with their seconds, through the processor of a one-encoder model."""
    file = folder / f"{name}-{module_fingerprint(encoder)[:12]}-{clips}.safetensors"
    if file.is_file():
        return load_file(file)
    config = tiny_merv(name)
    processor = Processor(config, SlotPipeline.load("tiny-base").processor.tokenizers)
    values, seconds = [], []
    for index in range(clips):
        clip = Clip(video=render(train_scene(index), "video"))
        stream = processor(Query.about(clip, DESCRIBE)).streams[name]
        values.append(encoder.encode(stream.values, "video")[0].half())  # type: ignore[operator]
        seconds.append(stream.seconds[0])
    features = {"values": torch.stack(values), "seconds": torch.stack(seconds)}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(features, file)
    return features


@torch.no_grad()
def base_tokens(base: VideoLanguageModel, scene: ToyScene) -> ClipTokens:
    """Encode a scene's clip with tiny-base."""
    inputs = base.processor(Query.about(Clip(video=render(scene, "video")), DESCRIBE))
    features = base.encode_stream("video", inputs.streams["video"])
    tokens = base.connector({"video": features}, features.item, features.scene)[0]["video"].values[0, 0]
    return ClipTokens({}, tokens, special_labels(scene))


NUM_FACTS = len(a.TEXTURES) + len(SPEEDS)


def fact_vectors(model: VideoLanguageModel) -> FactVectors:
    """Build one vector per texture and per speed, in this order, of the width of the language model."""
    return FactVectors(NUM_FACTS, model.language_model.width)


def with_facts(vectors: FactVectors, tokens: Tensor, labels: Tensor) -> Tensor:
    """Add fact vectors, by labels (B, 4, 2), to the first four of tokens (B, Q, D), which encode one quarter each."""
    facts = torch.zeros(*labels.shape[:2], NUM_FACTS, dtype=torch.bool)
    for column, first in ((0, 0), (1, len(a.TEXTURES))):
        there = labels[..., column] >= 0
        facts[there, first + labels[..., column][there]] = True
    return torch.cat([tokens[:, :4] + vectors(facts), tokens[:, 4:]], 1)
