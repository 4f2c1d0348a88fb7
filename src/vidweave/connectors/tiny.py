"""Connector configuration of tiny-base: one Q-Former over all frames of a clip; tiny systems build on it."""

from __future__ import annotations

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.fusion import NoFusionConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.qformer import QFormerConfig

__all__ = ["connector_config"]

WIDTH = 128


def connector_config(*, num_query_tokens: int = 16, layers: int = 3) -> ConnectorConfig:
    """Connector configuration with one port, `video`.

    Args:
        num_query_tokens: Tokens that the language model gets for a clip, however long it is.
        layers: Layers of the Q-Former; each attends to the clip.
    """
    qformer = QFormerConfig(
        hidden=WIDTH,
        layers=layers,
        heads=4,
        intermediate=2 * WIDTH,
        cross_attention_frequency=1,
        encoder_width=WIDTH,
        hidden_dropout=0.0,
        attention_dropout=0.0,
    )
    port = PortConfig(
        trunk="qformer",
        input_width=WIDTH,
        input_proj=WIDTH,
        input_norm=True,
        num_query_tokens=num_query_tokens,
        span="clip",
        num_time_positions=64,
    )
    return ConnectorConfig(
        trunks={"qformer": qformer}, ports={"video": port}, fusion=NoFusionConfig(), output_width=WIDTH
    )
