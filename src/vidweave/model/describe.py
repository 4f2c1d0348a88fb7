"""Cost of a model at full size, slot by slot, counted on the meta device: no weights are created or loaded."""

# Axes: R rows, T segments, K keys, Q queries, S prompt positions

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vidweave.connectors.fusion import Join
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import StreamConfig, VideoLanguageConfig
from vidweave.model.pool import pool_tokens
from vidweave.types import (
    AudioSpec,
    CarrierSpec,
    KeepsMemory,
    MotionSpec,
    PointSpec,
    RoutesExperts,
    SeesClips,
    TrunkInput,
    VisualSpec,
    text_spec_of,
)

__all__ = ["SlotCost", "describe_model"]

QUESTION_TOKENS = 32
TEXT_TOKENS = 16


@dataclass(frozen=True)
class SlotCost:
    """One slot: parameters, bytes of its weights, and FLOPs (2 per multiply-add) of one question; None: not countable."""

    slot: str
    parameters: int
    weight_bytes: int
    flops: int | None
    note: str = ""


def describe_model(config: VideoLanguageConfig, *, dtype: torch.dtype = torch.bfloat16) -> list[SlotCost]:
    """Costs of the four slots for one question about one clip, with the frames that the streams need.

    The prompt counts QUESTION_TOKENS tokens of text besides the streams' tokens; the language model's figure is reading
    it (prefill). Streams that want every frame are counted with one segment.

    Args:
        dtype: Of the weights, for their size.
    """
    with torch.device("meta"):
        model = VideoLanguageModel(config).eval().requires_grad_(False)  # the FLOP counter hooks trainable parameters
    encoded = {name: _encode(model, stream) for name, stream in model.spec.streams.items()}
    rows = [_cost("selector", model.selector, dtype, None)]
    for name, encoder in model.encoders.items():
        streams = [encoded[s] for s, stream in model.spec.streams.items() if stream.encoder == name]
        note = ", ".join(f"{tokens.shape[1]} x {tokens.shape[2]} tokens" for tokens, _ in streams)
        rows.append(_cost(f"encoders.{name}", encoder, dtype, sum(flops for _, flops in streams), note))
    connected = {name: _connect(model, name, encoded[name][0]) for name in model.spec.connector_streams}
    tokens = _prompt_tokens(model.connector.fusion, {name: count for name, (count, _) in connected.items()})
    flops = sum(flops for _, flops in connected.values())
    rows.append(_cost("connector", model.connector, dtype, flops, f"{tokens} tokens to the language model"))
    prefill = _read_prompt(model, tokens + QUESTION_TOKENS)
    note = f"prefill of {tokens} + {QUESTION_TOKENS} tokens"
    rows.append(_cost("language_model", model.language_model, dtype, prefill, note))
    return rows


def _cost(slot: str, module: nn.Module, dtype: torch.dtype, flops: int | None, note: str = "") -> SlotCost:
    parameters = sum(p.numel() for p in module.parameters())
    return SlotCost(slot, parameters, parameters * dtype.itemsize, flops, note)


def _count(work: Callable[[], Any]) -> tuple[Any, int]:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        result = work()
    return result, counter.get_total_flops()


def _encode(model: VideoLanguageModel, stream: StreamConfig) -> tuple[Tensor, int]:
    """Meta features (1, T, N, C) of a stream and the FLOPs of making them."""
    encoder: Any = model.encoders[stream.encoder]
    modality = stream.modalities[0]
    values = torch.empty(_input_shape(stream, encoder.specs[modality]), device="meta")
    return _count(lambda: pool_tokens(encoder.encode(values, modality), stream.pool))


def _input_shape(stream: StreamConfig, spec: Any) -> tuple[int, ...]:
    need = stream.need
    if isinstance(spec, VisualSpec):
        segments = ceil((need.num_frames or need.window) / need.window)
        return (1, segments, need.window * spec.crops, 3, spec.height, spec.width)
    if isinstance(spec, AudioSpec):
        samples = round(spec.sample_rate * spec.window_seconds)
        if not spec.mel_bins:
            return (1, spec.min_windows, samples)
        if spec.windows_of == "frames":
            return (1, spec.min_windows, spec.window_frames, spec.mel_bins)
        frames = 1 + int((spec.window_seconds - spec.frame_seconds) / spec.hop_seconds)
        return (1, spec.min_windows, frames, spec.mel_bins)
    if isinstance(spec, MotionSpec):
        return (1, 1, 1, 2, *((3,) if spec.source == "pictures" else ()), spec.height, spec.width)
    if isinstance(spec, CarrierSpec):
        return (1, 1, *spec.payload())
    assert isinstance(spec, PointSpec)
    return (1, 1, spec.num_points, 3 + spec.feature_width)


def _connect(model: VideoLanguageModel, name: str, features: Tensor) -> tuple[int, int]:
    """Tokens that stream `name` becomes, and the FLOPs of its trunk and output projection."""
    port = model.connector.ports[name]
    trunk = model.connector.trunks[port.trunk]
    keys = features.flatten(1, 2) if port.span == "clip" else features[0]
    keys = keys.new_empty(*keys.shape[:2], trunk.key_width)
    reads_text = text_spec_of(trunk) is not None
    text = torch.zeros(len(keys), TEXT_TOKENS, dtype=torch.long, device="meta") if reads_text else None

    def work() -> Tensor:
        if isinstance(trunk, KeepsMemory):
            steps = TrunkInput(port.queries(1), keys[None], text=None if text is None else text[:1])
            memory = trunk.commit(steps.steps(slice(-1)), trunk.empty_memory(steps))
            return port.project(trunk.evaluate(steps.step(-1), memory)[:, : port.query_tokens.shape[1]])
        if isinstance(trunk, SeesClips):
            line = features.new_empty(*features.shape[:3], keys.shape[-1])
            hidden, _ = trunk.over_time(
                line, torch.ones(line.shape[:3], dtype=torch.bool)
            )  # the mask's values are read
            return port.project(hidden[0])
        queries = port.queries(len(keys))
        hidden = trunk(TrunkInput(queries, keys, text=text, adapter=_ports(trunk, len(keys))))
        return port.project(hidden if queries is None else hidden[:, : queries.shape[1]])

    tokens, flops = _count(work)
    return tokens.shape[0] * tokens.shape[1], flops


def _ports(trunk: Any, rows: int) -> Tensor | None:
    """The port of each row, for routers."""
    return torch.zeros(rows, dtype=torch.long, device="meta") if isinstance(trunk, RoutesExperts) else None


def _prompt_tokens(fusion: nn.Module, counts: Mapping[str, int]) -> int:
    """Of all streams; those that are mixed share their places."""
    mixed = fusion.members if isinstance(fusion, Join) and fusion.shares_places else ()
    return sum(n for name, n in counts.items() if name not in mixed) + max((counts[name] for name in mixed), default=0)


def _read_prompt(model: VideoLanguageModel, length: int) -> int:
    language_model = model.language_model
    values = torch.empty(1, length, language_model.width, device="meta")
    if language_model.side == "right":
        start = torch.zeros(1, 1, dtype=torch.long, device="meta")
        return _count(lambda: language_model.model(inputs_embeds=values, decoder_input_ids=start, use_cache=False))[1]
    # a 4-D mask is used unchanged; transformers would read the values of any other, and meta tensors have none
    mask = torch.ones(1, 1, length, length, dtype=torch.bool, device="meta")
    positions = torch.arange(length, device="meta")[None]  # OPT would count them in a mask of two axes
    arguments = {"inputs_embeds": values, "attention_mask": mask, "position_ids": positions}
    arguments |= {"use_cache": False, "logits_to_keep": 1}
    return _count(lambda: language_model.model(**arguments))[1]
