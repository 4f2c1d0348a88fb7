"""tiny-crema: what tiny-base sees, and a port for each further sense into the same Q-Former and the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vidweave.connectors.gated_fusion import GatedAddConfig
from vidweave.connectors.modality_adapters import AdapterConfig
from vidweave.connectors.ports import PortConfig
from vidweave.encoders.tiny import WIDTH
from vidweave.model.config import StreamConfig, VideoLanguageConfig
from vidweave.systems.tiny.preset import tiny_base
from vidweave.systems.tiny.senses import MODALITY_ENCODERS, MODALITY_WIDTH, modality_encoders
from vidweave.types import FrameNeed

__all__ = ["MODALITIES", "tiny_crema"]

MODALITIES = tuple(MODALITY_ENCODERS)
SENSE_FRAMES = 4  # pictures of each sense, as in the paper


def tiny_crema(*, senses: Sequence[str] = MODALITIES, rank: int = 8) -> VideoLanguageConfig:
    """Video as in tiny-base, to whose tokens the other senses are added, each of which may be missing; however many there
    are, the language model reads no token more.

    Args:
        senses: Names of MODALITIES, in any order: the fusion keeps a matrix for each under its name.
        rank: Of each sense's low-rank change of the shared Q-Former.
    """
    base = tiny_base().parse()
    used = {MODALITY_ENCODERS[sense] for sense in senses}
    connector: Any = base.connector
    port = PortConfig(
        trunk="qformer",
        input_width=MODALITY_WIDTH,
        input_proj=WIDTH,
        input_norm=True,
        num_query_tokens=connector.ports["video"].num_query_tokens,
        adapter=AdapterConfig(rank=rank, dropout=0.0),
        span="clip",
        num_time_positions=SENSE_FRAMES,
        beyond_times="clamp",
        absent="skip",
    )
    spec = replace(
        base,
        encoders={**base.encoders, **{name: config for name, config in modality_encoders().items() if name in used}},
        streams={**base.streams, **{sense: _stream(sense) for sense in senses}},
        connector=replace(
            connector,
            ports={**connector.ports, **dict.fromkeys(senses, port)},
            fusion=GatedAddConfig(streams=("video", *senses)),
        ),
    )
    return VideoLanguageConfig(spec, name="tiny-crema")


def _stream(sense: str) -> StreamConfig:
    need = FrameNeed(num_frames=SENSE_FRAMES)
    return StreamConfig(encoder=MODALITY_ENCODERS[sense], modalities=(sense,), need=need)
