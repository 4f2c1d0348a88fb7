"""The model before training: frozen base models, and ports initialized from the video's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import vidweave
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.bases import base_state
from vidweave.systems.tiny.crema import MODALITIES, tiny_crema
from vidweave.tiny.linear_starts import ridge_map, set_linear
from vidweave.tiny.scenes import train_scene
from vidweave.tiny.whitening import whitening
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import ToyScene
from vidweave.types import Clip, Query, TrunkInput

__all__ = ["BASES", "clip_of", "features_of", "initial_model", "port_tokens", "video_tokens"]

BASES = {
    "encoders.rgb": "tiny-rgb",
    "encoders.pictures": "tiny-pictures",
    "encoders.sound": "tiny-sound",
    "encoders.points": "tiny-points",
    "connector.trunks.qformer": "tiny-base",
    "connector.ports.video": "tiny-base",
}


QUESTION = "What is there?"  # features do not depend on it


def initial_model(rank: int, language: str = "tiny-llama") -> VideoLanguageModel:
    """Build the model with frozen base models, and ports initialized from the video's."""
    base = vidweave.load("tiny-base").model
    config = tiny_crema(rank=rank)
    model = VideoLanguageModel(config)
    model.processor = base.processor.for_config(config)
    for root, asset in {**BASES, "language_model": language}.items():
        state = base_state(root, {"source": asset}, model, Path())
        model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=False)
    model.connector.fusion.bias.data.zero_()
    model.eval()
    names = ("video", *MODALITIES)
    clips = [features_of(model, clip_of(train_scene(i), names)) for i in range(48)]
    values = {name: torch.from_numpy(np.stack([clip[name] for clip in clips])).float() for name in names}
    ports: Any = model.connector.ports
    for modality in MODALITIES:
        _init_port(ports["video"], ports[modality], values["video"], values[modality])
    return model


@torch.no_grad()
def _init_port(video: Any, port: Any, frames: Tensor, values: Tensor) -> None:
    """Initialize the port of a modality from the port of the video, given features (B, T, N, C) of both.

    Queries, norm and output are copied. The input projection maps the modality's tokens to the keys of the video tokens
    at the same positions, as far as a linear map can; a modality without positions starts with whitened tokens.
    """
    for name in ("query_tokens", "input_norm.weight", "input_norm.bias", "output_proj.weight", "output_proj.bias"):
        port.get_parameter(name).copy_(video.get_parameter(name))
    step = frames.shape[1] // values.shape[1]
    port.time_embedding[: values.shape[1]].copy_(video.time_embedding[step - 1 : frames.shape[1] : step])
    if port.name in ("touch", "audio"):
        weight, bias = whitening(values.flatten(0, 2))
        spread = nn.init.orthogonal_(torch.empty(len(port.input_proj.weight), len(weight)))
        weight, bias = spread @ weight, spread @ bias
    else:
        keys = video.input_proj(frames)
        keys = keys[:, step - 1 :: step] if values.shape[1] > 1 else keys.mean(1, keepdim=True)
        weight, bias = ridge_map(values.flatten(0, 2), keys.flatten(0, 2))
    set_linear(port.input_proj, weight, bias)


def clip_of(scene: ToyScene, names: Sequence[str]) -> Clip:
    """Render the modalities `names` of a scene as a clip."""
    sources: dict[str, Any] = {name: render(scene, name) for name in names}
    return Clip(**sources)


@torch.no_grad()
def features_of(model: VideoLanguageModel, clip: Clip) -> dict[str, np.ndarray]:
    """Encode a clip in half precision, through the model's own processor: stream → features (T, N, C)."""
    streams = model.processor(Query.about(clip, QUESTION)).streams
    return {name: model.encode_stream(name, stream).values[0].half().numpy() for name, stream in streams.items()}


@torch.no_grad()
def video_tokens(model: VideoLanguageModel, clip: Clip) -> np.ndarray:
    """Encode the tokens (Q, D) of a clip with video only, in half precision."""
    frames = torch.from_numpy(features_of(model, clip)["video"])[None].float()
    return port_tokens(model, "video", frames)[0].half().numpy()


def port_tokens(model: VideoLanguageModel, stream: str, values: Tensor) -> Tensor:
    """Map features (B, T, N, C) by the port of `stream` to tokens (B, Q, D) before the fusion."""
    connector: Any = model.connector
    port, rows = connector.ports[stream], len(values)
    keys = port.keys(
        values, torch.ones(values.shape[:3], dtype=torch.bool), torch.zeros(rows, dtype=torch.long), values.dtype
    )
    adapter = torch.full((rows,), list(connector.ports).index(stream))
    inputs = TrunkInput(port.queries(rows), keys.flatten(1, 2), adapter=adapter)
    return port.project(connector.trunks[port.trunk](inputs))
