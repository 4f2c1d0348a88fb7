"""What stands for a clip: features of several encoders, the tokens of tiny-base, and what the special encoders show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import vidweave
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.cache import module_fingerprint
from vidweave.model.processor import Processor
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
    "Looks",
    "NUM_FACTS",
    "Seen",
    "base_tokens",
    "collate",
    "fact_vectors",
    "special_labels",
    "with_facts",
]

DESCRIBE = "Describe the clip."


def special_labels(scene: ToyScene) -> Tensor:
    """(4, 2) texture and speed of the object in each quarter, NOTHING where there is none, or where it stands still."""
    labels = torch.full((4, 2), NOTHING)
    for obj in scene.objects:
        speed = NOTHING if obj.motion == "still" else SPEEDS.index(obj.speed)
        labels[obj.quarter] = torch.tensor([a.TEXTURES.index(obj.texture), speed])
    return labels


@dataclass(frozen=True)
class Seen:
    """What stands for a clip: features per stream, the tokens of tiny-base, what the special eyes should see, and the
    features that tiny-base made its tokens of where no stream has them."""

    features: dict[str, PrecomputedFeatures]
    tokens: Tensor
    labels: Tensor
    known: Tensor | None = None


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


def collate(model: VideoLanguageModel, examples: Sequence[ClipExample]) -> Batch:
    asked = [(clip, question) for clip, example in enumerate(examples) for question in example.questions]
    streams = examples[0].clip.features
    num_segments = len(streams) if model.spec.connector.fusion.kind == "concat" else 1
    answers = [question.answer for _, question in asked]
    plan = plan_prompts(model, [question.text for _, question in asked], answers, num_segments=num_segments)
    return Batch(
        features={name: stack_features([example.clip.features[name] for example in examples]) for name in streams},
        tokens=torch.stack([example.clip.tokens for example in examples]).float(),
        labels=torch.stack([example.clip.labels for example in examples]),
        clip_of=torch.tensor([clip for clip, _ in asked]),
        questions=plan,
    )


class Looks:
    """What some eyes see of the first training scenes, and the tokens of tiny-base; made once for all rows, on disk."""

    def __init__(self, eyes: Mapping[str, nn.Module], base: VideoLanguageModel, folder: Path, clips: int) -> None:
        self._seen = {eye: _features(eye, encoder, folder, clips) for eye, encoder in eyes.items()}
        self._known = self._seen.get("general") or _features("general", base.encoders["rgb"], folder, clips)
        self._base = base
        self.has_known = "general" not in self._seen

    @torch.no_grad()
    def __call__(self, scene: ToyScene) -> Seen:
        """Of training scene number `scene.seed`."""
        row = scene.seed
        seen = {
            eye: PrecomputedFeatures(f["values"][row].numpy(), f["seconds"][row].numpy())
            for eye, f in self._seen.items()
        }
        known = self._known["values"][row]
        general = stack_features([PrecomputedFeatures(known.numpy(), self._known["seconds"][row].numpy())])
        blocks, _ = self._base.connector({"video": general}, general.item, general.scene)
        return Seen(seen, blocks["video"].values[0, 0], special_labels(scene), known if self.has_known else None)


@torch.no_grad()
def _features(eye: str, encoder: nn.Module, folder: Path, clips: int) -> dict[str, Tensor]:
    """Features (clips, T, N, C) in half precision and their seconds, through the processor of a model with this eye alone."""
    file = folder / f"{eye}-{module_fingerprint(encoder)[:12]}-{clips}.safetensors"
    if file.is_file():
        return load_file(file)
    config = tiny_merv(eye)
    processor = Processor(config, vidweave.load("tiny-base").processor.tokenizers)
    values, seconds = [], []
    for index in range(clips):
        clip = Clip(video=render(train_scene(index), "video"))
        stream = processor(Query.about(clip, DESCRIBE)).streams[eye]
        values.append(encoder.encode(stream.values, "video")[0].half())  # type: ignore[operator]
        seconds.append(stream.seconds[0])
    made = {"values": torch.stack(values), "seconds": torch.stack(seconds)}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(made, file)
    return made


@torch.no_grad()
def base_tokens(base: VideoLanguageModel, scene: ToyScene) -> Seen:
    inputs = base.processor(Query.about(Clip(video=render(scene, "video")), DESCRIBE), cache=base.cache)
    features = base.encode_stream("video", inputs.streams["video"])
    tokens = base.connector({"video": features}, features.item, features.scene)[0]["video"].values[0, 0]
    return Seen({}, tokens, special_labels(scene))


NUM_FACTS = len(a.TEXTURES) + len(SPEEDS)


def fact_vectors(model: VideoLanguageModel) -> FactVectors:
    """One vector per texture and per speed, in this order, of the width of the language model."""
    return FactVectors(NUM_FACTS, model.language_model.width)


def with_facts(vectors: FactVectors, tokens: Tensor, labels: Tensor) -> Tensor:
    """Tokens (B, Q, D) whose first four tell one quarter each, labels (B, 4, 2) → tokens that tell these as well."""
    facts = torch.zeros(*labels.shape[:2], NUM_FACTS, dtype=torch.bool)
    for column, first in ((0, 0), (1, len(a.TEXTURES))):
        there = labels[..., column] >= 0
        facts[there, first + labels[..., column][there]] = True
    return torch.cat([tokens[:, :4] + vectors(facts), tokens[:, 4:]], 1)
