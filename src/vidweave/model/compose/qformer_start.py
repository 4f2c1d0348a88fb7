"""BLIP-2's or InstructBLIP's Q-Former as the start of a new connector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CONFIG_MAPPING

from vidweave.connectors.connector import Connector
from vidweave.connectors.qformer import QFormerConfig
from vidweave.connectors.qformer_keys import connector_keys
from vidweave.errors import CheckpointError
from vidweave.model.files import read_json, read_model_type, read_weights
from vidweave.model.look_first import locate_part
from vidweave.nn.config_guard import checked_config, class_config

__all__ = ["QFormerStart", "read_qformer"]

FORMS: dict[str, Any] = {"blip-2": "blip2", "instructblip": "instructblip", "instructblipvideo": "instructblip"}
PARTS = ("qformer.", "query_tokens", "vision_model.post_layernorm.", "language_projection.")


@dataclass(frozen=True)
class QFormerStart:
    """A trained Q-Former without its text branch, and its query tokens.

    Attributes:
        config: Its sizes.
        state: Names relative to a connector with the trunk `qformer` and the port `video`.
    """

    config: QFormerConfig
    state: Mapping[str, Tensor]

    @torch.no_grad()
    def put_into(self, connector: Connector) -> None:
        """Copy the weights; each port gets the query tokens, as many as it has, and the norm where the widths agree."""
        own = connector.state_dict()
        trunk = {name: tensor for name, tensor in self.state.items() if name.startswith("trunks.") and name in own}
        ports = {}
        for port in connector.ports:
            ports |= {f"ports.{port}.{name}": tensor for name, tensor in self._port(own, port).items()}
        connector.load_state_dict({**own, **trunk, **ports})

    def _port(self, own: Mapping[str, Tensor], port: str) -> dict[str, Tensor]:
        result = {}
        for name in ("query_tokens", "input_norm.weight", "input_norm.bias"):
            requested, held = own[f"ports.{port}.{name}"], self.state[f"ports.video.{name}"]
            held = held[:, : requested.shape[1]] if name == "query_tokens" else held
            if held.shape == requested.shape:
                result[name] = held
            elif name == "query_tokens":
                raise CheckpointError(
                    f"the Q-Former has {held.shape[1]} query tokens, tokens_per_frame asks for {requested.shape[1]}; take at "
                    f"most {held.shape[1]}"
                )
        return result


def read_qformer(source: str | Path) -> QFormerStart:
    """The Q-Former of a BLIP-2 or InstructBLIP folder of transformers, or hub id.

    Raises:
        CheckpointError: a folder of another kind, or one that lacks weights.
    """
    folder = locate_part(source, _form)
    form, data = _form(folder), read_json(folder / "config.json")
    where = f"config.json of {folder}"
    cls = CONFIG_MAPPING[data["model_type"]]
    whole: Any = class_config(checked_config(data, cls, where, unknown="drop"), cls, where)
    table = connector_keys(form)
    weights = {_plain(name): tensor for name, tensor in read_weights(folder).items()}
    state = table.to_ours({name: tensor for name, tensor in weights.items() if name.startswith(PARTS)})
    return QFormerStart(_sizes(whole.qformer_config), state)


def _plain(name: str) -> str:
    return name.removeprefix("model.")


def _form(folder: Path) -> Any:
    model_type = read_model_type(folder)
    if model_type not in FORMS:
        raise CheckpointError(f"{folder} holds a {model_type!r} model; a Q-Former is taken from: {', '.join(FORMS)}")
    return FORMS[model_type]


def _sizes(config: Any) -> QFormerConfig:
    return QFormerConfig(
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        intermediate=config.intermediate_size,
        cross_attention_frequency=config.cross_attention_frequency,
        encoder_width=config.encoder_hidden_size,
        layer_norm_eps=config.layer_norm_eps,
    )
