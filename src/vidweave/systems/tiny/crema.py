"""tiny-crema: tiny-base with a port for each further modality, sharing its Q-Former and its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vidweave.connectors.gated_fusion import GatedAddConfig
from vidweave.connectors.modality_adapters import AdapterConfig
from vidweave.connectors.ports import PortConfig
from vidweave.encoders.tiny import WIDTH
from vidweave.model.config import StreamConfig, VideoLanguageConfig
from vidweave.systems.tiny.modalities import MODALITY_ENCODERS, MODALITY_WIDTH, modality_encoders
from vidweave.systems.tiny.preset import tiny_base
from vidweave.types import FrameNeed

__all__ = ["MODALITIES", "tiny_crema"]

MODALITIES = tuple(MODALITY_ENCODERS)
MODALITY_FRAMES = 4  # frames of each modality, as in the paper


def tiny_crema(*, modalities: Sequence[str] = MODALITIES, rank: int = 8) -> VideoLanguageConfig:
    """Add optional modalities to the tokens of the video in tiny-base, without additional tokens for the language model.

    Args:
        modalities: Names of MODALITIES, in any order: the fusion keeps a matrix for each under its name.
        rank: Rank of each modality's change of the shared Q-Former.
    """
    base = tiny_base().parse()
    used = {MODALITY_ENCODERS[modality] for modality in modalities}
    connector: Any = base.connector
    port = PortConfig(
        trunk="qformer",
        input_width=MODALITY_WIDTH,
        input_proj=WIDTH,
        input_norm=True,
        num_query_tokens=connector.ports["video"].num_query_tokens,
        adapter=AdapterConfig(rank=rank, dropout=0.0),
        span="clip",
        num_time_positions=MODALITY_FRAMES,
        beyond_times="clamp",
        absent="skip",
    )
    spec = replace(
        base,
        encoders={**base.encoders, **{name: config for name, config in modality_encoders().items() if name in used}},
        streams={**base.streams, **{modality: _stream(modality) for modality in modalities}},
        connector=replace(
            connector,
            ports={**connector.ports, **dict.fromkeys(modalities, port)},
            fusion=GatedAddConfig(streams=("video", *modalities)),
        ),
    )
    return VideoLanguageConfig(spec, name="tiny-crema")


def _stream(modality: str) -> StreamConfig:
    need = FrameNeed(num_frames=MODALITY_FRAMES)
    return StreamConfig(encoder=MODALITY_ENCODERS[modality], modalities=(modality,), need=need)
