"""Memories of long clips, each encoded and filled once, since the input of the memory is frozen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vidweave.encoders.tiny import PIXELS
from vidweave.media.plan import plan_frames
from vidweave.media.preprocess import apply
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.cache import module_fingerprint
from vidweave.nn.bank import append_, empty_bank, shorten_
from vidweave.tiny.linear_starts import set_linear
from vidweave.tiny.long_clips import (
    LongQuestion,
    LongQuestions,
    distinct_frames,
)
from vidweave.tiny.whitening import whitening
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import ToyScene
from vidweave.types import PrecomputedFeatures

__all__ = ["Memories", "build_memories", "clip_features"]

BATCH = 100  # clips whose memories are filled together


@dataclass(frozen=True)
class Memories:
    """Memory of each clip before its last frame: entries (clips, S, N, C) in half precision with their sizes
    (clips, S, N), and the newest time step (clips, N, C)."""

    questions: LongQuestions
    values: Tensor
    size: Tensor
    newest: Tensor

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, index: int) -> LongQuestion:
        return self.questions[index]


@dataclass(frozen=True)
class Encoded:
    """Features of a clip's distinct frames (n, N, C) in half precision, and the index of each frame among them (T,)."""

    features: Tensor
    where: Tensor


def build_memories(root: Any, *, clips: int, folder: str) -> Memories:
    """Fill the memories of the first long training clips, after setting the port to whiten their features."""
    questions, model = LongQuestions(clips), root.model
    encoded = _encoded(model, questions.scenes, folder)
    _whiten(model, encoded[:64])
    parts = [_fill(model, encoded[i : i + BATCH]) for i in range(0, clips, BATCH)]
    return Memories(questions, *(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


@torch.no_grad()
def _encode(model: VideoLanguageModel, scene: ToyScene) -> Encoded:
    times = np.arange(scene.num_frames) / scene.fps
    plan = plan_frames({"video": model.spec.streams["video"].need}, times, scene.duration_seconds)
    frames, where = distinct_frames(scene, plan.indices[plan.streams["video"]])
    pixels, _ = apply(PIXELS, render(scene, "video", frames=frames))
    encoder: Any = model.encoders["rgb"]
    features = encoder.encode(pixels[None, :, None], "video")[0]
    return Encoded(features.half(), torch.from_numpy(where.astype(np.uint8)))


def clip_features(model: VideoLanguageModel, scene: ToyScene) -> PrecomputedFeatures:
    """Encode a clip as features, with a time step per frame."""
    encoded = _encode(model, scene)
    count = len(encoded.where)
    step = scene.duration_seconds / count
    seconds = np.stack([np.arange(count), np.arange(1, count + 1)], 1) * step
    return PrecomputedFeatures(encoded.features[encoded.where.long()].numpy(), seconds.astype(np.float32))


def _encoded(model: VideoLanguageModel, scenes: list[ToyScene], folder: str) -> list[Encoded]:
    """Encode all clips, or read them from `folder` if another run has written them."""
    need = model.spec.streams["video"].need
    name = f"long-{len(scenes)}-{need.num_frames}-{module_fingerprint(model.encoders['rgb'])[:12]}.safetensors"
    file = Path(folder) / name if folder else None
    if file is None or not file.is_file():
        encoded = [_encode(model, scene) for scene in scenes]
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            count = torch.tensor([len(e.features) for e in encoded])
            where = torch.stack([e.where for e in encoded])
            save_file({"features": torch.cat([e.features for e in encoded]), "count": count, "where": where}, file)
        return encoded
    stored = load_file(file)
    pairs = zip(stored["features"].split(stored["count"].tolist()), stored["where"], strict=True)
    return [Encoded(*pair) for pair in pairs]


@torch.no_grad()
def _whiten(model: VideoLanguageModel, encoded: list[Encoded]) -> None:
    weight, bias = whitening(torch.cat([e.features for e in encoded]).float().flatten(0, 1))
    set_linear(model.connector.ports["video"].input_proj, weight, bias)


@torch.no_grad()
def _fill(model: VideoLanguageModel, encoded: list[Encoded]) -> tuple[Tensor, Tensor, Tensor]:
    """Fill the memories of some clips: entries and their sizes after all time steps but the last, and the last step."""
    port, rule = model.connector.ports["video"], model.spec.connector.trunks["qformer"].memory.rule()
    keys = [port.input_norm(port.input_proj(e.features.float())) for e in encoded]
    steps, (tokens, width) = len(encoded[0].where), keys[0].shape[1:]
    bank = empty_bank(len(encoded), rule.limit, tokens, width, keys[0])

    def step(number: int) -> Tensor:
        frame = torch.stack([k[int(e.where[number])] for k, e in zip(keys, encoded, strict=True)])
        return frame + port.time_embedding[number]

    for number in range(steps - 1):
        bank, _ = append_(bank, step(number), None, rule)
        bank, _ = shorten_(bank, rule)
    values, size = bank.in_time()
    return values.half(), size, step(steps - 1).half()
