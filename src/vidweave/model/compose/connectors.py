"""The new connector of a composed model: its sizes follow from the parts on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isqrt
from typing import Any

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.fusion import NoFusionConfig
from vidweave.connectors.mixer import MixerConfig
from vidweave.connectors.mlp import MLPConfig
from vidweave.connectors.modality_adapters import AdapterConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.qformer import QFormerConfig
from vidweave.connectors.qformer_memory import MemoryConfig
from vidweave.connectors.resampler import ResamplerConfig
from vidweave.errors import ConfigError
from vidweave.model.compose.parts import EncoderPart
from vidweave.model.compose.settings import Composition
from vidweave.types import PoolSpec

__all__ = ["connector_for", "pools_for"]

HEAD_WIDTH = 64
QFORMER_WIDTH = 768  # BLIP-2's; narrower towers get a Q-Former of their own width
FUSED = "video"


def pools_for(settings: Composition, parts: Sequence[EncoderPart]) -> dict[str, PoolSpec | None]:
    """What happens to each encoder's tokens before the connector: split into steps, averaged to a smaller grid.

    Raises:
        ConfigError: tokens that form no square grid, or a number that is no square.
    """
    pools = {}
    for part in parts:
        grid = _grid(settings, part)
        is_plain = grid is None and part.steps == 1
        pools[part.name] = None if is_plain else PoolSpec(grid=grid, steps=part.steps)
    return pools


def _grid(settings: Composition, part: EncoderPart) -> int | None:
    requested = settings.tokens_per_frame
    if settings.connector not in ("mlp", "mixer") or requested is None or requested == part.tokens:
        return None
    if isqrt(part.tokens) ** 2 != part.tokens:
        raise ConfigError(
            f"the {part.tokens} tokens of {part.source!r} form no square grid, so they cannot be averaged to {requested}; take "
            f"connector 'qformer' or 'resampler', or tokens_per_frame={part.tokens}"
        )
    if isqrt(requested) ** 2 != requested or requested > part.tokens:
        raise ConfigError(
            f"tokens_per_frame={requested} must be a square number up to the {part.tokens} tokens of {part.source!r} with "
            f"connector {settings.connector!r}; take one, or connector 'qformer' or 'resampler'"
        )
    return isqrt(requested)


def connector_for(
    settings: Composition, parts: Sequence[EncoderPart], width: int, *, start: QFormerConfig | None = None
) -> ConnectorConfig:
    """A connector from these encoders to a language model of this width.

    Args:
        start: Configuration of the Q-Former whose weights it will get.

    Raises:
        ConfigError: parts that do not fit.
    """
    make = {"mlp": _mlp, "mixer": _mlp, "resampler": _resampler}.get(settings.connector)
    trunks, ports = _qformer(settings, parts, start) if make is None else make(settings, parts, width)
    if settings.connector == "mixer":
        _check_equal_tokens(settings, parts)
    fusion = MixerConfig(name=FUSED, align="nearest", query_width=width) if settings.connector == "mixer" else None
    if (
        fusion is None and len({part.modalities for part in parts}) > 1
    ):  # a clip may have one modality and not the other
        ports = {name: replace(port, absent="skip") for name, port in ports.items()}
    return ConnectorConfig(trunks=trunks, ports=ports, fusion=fusion or NoFusionConfig(), output_width=width)


def _check_equal_tokens(settings: Composition, parts: Sequence[EncoderPart]) -> None:
    counts = {part.source: part.tokens for part in parts}
    if settings.tokens_per_frame is None and len(set(counts.values())) > 1:
        raise ConfigError(f"a mixer needs equal numbers of tokens per frame, got {counts}; set tokens_per_frame")


def _mlp(
    settings: Composition, parts: Sequence[EncoderPart], width: int
) -> tuple[dict[str, Any], dict[str, PortConfig]]:
    """Two layers for each encoder, as LLaVA has them."""
    trunks = {part.name: MLPConfig(key_width=part.width, widths=(width, width)) for part in parts}
    ports = {part.name: PortConfig(trunk=part.name, input_width=part.width, output_proj=False) for part in parts}
    return trunks, ports


def _resampler(
    settings: Composition, parts: Sequence[EncoderPart], width: int
) -> tuple[dict[str, Any], dict[str, PortConfig]]:
    trunks = {part.name: ResamplerConfig(key_width=part.width, heads=_heads(part.width)) for part in parts}
    queries = settings.tokens_per_frame or 0
    ports = {p.name: PortConfig(trunk=p.name, input_width=p.width, num_query_tokens=queries) for p in parts}
    return trunks, ports


def _qformer(
    settings: Composition, parts: Sequence[EncoderPart], start: QFormerConfig | None
) -> tuple[dict[str, Any], dict[str, PortConfig]]:
    """One Q-Former for all encoders, each with queries of its own."""
    widths = {part.width for part in parts}
    memory = None if settings.memory is None else MemoryConfig(length=settings.memory)
    if start is None:
        hidden = min(QFORMER_WIDTH, max(widths))
        keys = max(widths)
        heads = _heads(hidden)
        qformer = QFormerConfig(hidden=hidden, heads=heads, intermediate=4 * hidden, encoder_width=keys, memory=memory)
    else:
        qformer, keys = replace(start, memory=memory), start.encoder_width
    adapter = AdapterConfig(rank=settings.adapter_rank) if settings.adapter_rank else None
    times = {"num_time_positions": settings.num_frames, "beyond_times": "clamp"} if memory else {}
    ports = {
        part.name: PortConfig(
            trunk="qformer",
            input_width=part.width,
            input_proj=None if part.width == keys else keys,
            input_norm=True,
            num_query_tokens=settings.tokens_per_frame or 0,
            adapter=adapter,
            **times,
        )
        for part in parts
    }
    return {"qformer": qformer}, ports


def _heads(width: int) -> int:
    """Heads of about 64 numbers each."""
    requested = max(1, width // HEAD_WIDTH)
    return next(heads for heads in range(requested, 0, -1) if width % heads == 0)
