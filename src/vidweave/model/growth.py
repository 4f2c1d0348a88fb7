"""Add a modality to a trained model: one more set of adapters; existing weights do not change by a bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.fusion import NoFusionConfig
from vidweave.connectors.gated_fusion import GatedAddConfig, GatedAppendConfig
from vidweave.connectors.modality_adapters import AdapterConfig
from vidweave.connectors.ports import PortConfig
from vidweave.errors import ConfigError, UnknownNameError
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import ModelSpec, VideoLanguageConfig
from vidweave.registry import MODALITIES
from vidweave.types import ComponentConfig, PreprocessSpec

__all__ = ["add_modality", "parameters_of"]


def add_modality(
    model: VideoLanguageModel,
    name: str,
    *,
    like: str = "video",
    spec: PreprocessSpec | None = None,
    adapter: AdapterConfig | None = None,
    encoder: ComponentConfig | None = None,
    encoder_weights: Mapping[str, Tensor] | None = None,
    **port_changes: Any,
) -> VideoLanguageModel:
    """Return the model with one more modality, untrained: answers to old inputs are unchanged, to the bit.

    The new port begins as a copy of the port of `like`, with a fresh adapter, which begins at zero; its part of the
    fusion is zero. A model without fusion gets a `gated_add` of the two, so no answer costs one token more. Clips may
    have the modality or not. Weights are shared with the old model, not copied.

    Args:
        name: A registered modality (`registry.MODALITIES.register(name, name, carrier="frames")` registers a new one).
        like: A connector stream whose encoder, frames and port the new stream copies.
        spec: How raw media become the encoder's input; None is that of `like`.
        adapter: The stream's LoRA in the shared trunk; None is the adapter of `like`, or CREMA's if it has none.
        encoder: An encoder of its own, with `encoder_weights` (names relative to it), instead of the one of `like`.
        port_changes: Fields of `PortConfig` (`input_width`, `input_proj`, …) that differ from those of `like`. What then
            has another shape than in `like` begins at random.

    Raises:
        UnknownNameError: no such modality, or no connector stream `like`.
        ConfigError: the model has that stream already, or has a place for it neither in its fusion nor in its layout.
    """
    config = model.built_config()
    old = config.parse()
    _check(old, name, like)
    stream = replace(old.streams[like], modalities=(name,), encoder=name if encoder else old.streams[like].encoder)
    port = old.connector.ports[like]
    changes = {"absent": "skip", "adapter": adapter or port.adapter or AdapterConfig(), **port_changes}
    grown = replace(
        old,
        encoders=_encoders(old, name, like, spec, encoder),
        streams={**old.streams, name: stream},
        connector=_connector(old.connector, name, like, replace(port, **changes), old),
    )
    config = VideoLanguageConfig(grown, name=config.name)
    state = model.state_dict() | _fresh(model, grown, name, like)
    state |= {f"encoders.{name}.{key}": value for key, value in (encoder_weights or {}).items()}
    new = VideoLanguageModel.from_state(config, state, what=f"{model.config.name or 'the model'} with {name}").eval()
    if model._processor is not None:
        new.processor = model.processor.for_config(config)
    return new


def parameters_of(model: VideoLanguageModel, name: str) -> list[str]:
    """Names of the parameters that belong to stream `name` alone: its trainable parameters."""
    own = (f"connector.ports.{name}.", f"connector.fusion.weights.{name}")
    result = [key for key, _ in model.named_parameters() if key.startswith(own[0]) or key == own[1]]
    if not result:
        raise UnknownNameError("stream", name, model.spec.connector_streams)
    return result


def _check(old: ModelSpec, name: str, like: str) -> None:
    if name not in MODALITIES:
        raise UnknownNameError("modality", name, MODALITIES, "(registry.MODALITIES.register adds one)")
    if like not in old.connector_streams:
        raise UnknownNameError("connector stream", like, old.connector_streams)
    if name in old.streams:
        raise ConfigError(f"the model has a stream {name!r} already; train that one")


def _encoders(
    old: ModelSpec, name: str, like: str, spec: PreprocessSpec | None, encoder: ComponentConfig | None
) -> dict[str, Any]:
    if encoder is not None:
        return {**old.encoders, name: encoder}
    stream = old.streams[like]
    shared = old.encoders[stream.encoder]
    spec = spec or shared.specs[stream.modalities[0]]
    return {**old.encoders, stream.encoder: replace(shared, specs={**shared.specs, name: spec})}


def _connector(old: ConnectorConfig, name: str, like: str, port: PortConfig, model: ModelSpec) -> ConnectorConfig:
    fusion: Any = old.fusion
    if isinstance(fusion, (GatedAddConfig, GatedAppendConfig)):
        fusion = replace(fusion, streams=(*fusion.members(tuple(old.ports)), name))
    elif isinstance(fusion, NoFusionConfig):
        fusion = GatedAddConfig(streams=(like, name))
    elif name not in model.layout.blocks:
        raise ConfigError(f"neither the fusion ({fusion.kind}) nor the prompt layout has a place for {name!r}; add one")
    return replace(old, ports={**old.ports, name: port}, fusion=fusion)


def _fresh(model: VideoLanguageModel, grown: ModelSpec, name: str, like: str) -> dict[str, Tensor]:
    """The weights that are new: of the port, and the fusion's."""
    connector, width = grown.connector, grown.connector.output_width
    config, template = connector.ports[name], model.connector.ports[like]
    with torch.device("meta"):
        trunk = connector.trunks[config.trunk].build()
    port = config.build(name, trunk, width)
    known = {key: value for key, value in template.state_dict().items() if not key.startswith("adapter.")}
    state = {}
    for key, value in port.state_dict().items():
        fits = key in known and known[key].shape == value.shape
        state[f"connector.ports.{name}.{key}"] = known[key].clone() if fits else value.to(model.dtype)
    if isinstance(connector.fusion, (GatedAddConfig, GatedAppendConfig)):
        state[f"connector.fusion.weights.{name}"] = torch.zeros(width, width, dtype=model.dtype)
        if isinstance(model.spec.connector.fusion, NoFusionConfig):
            state["connector.fusion.bias"] = torch.zeros(width, dtype=model.dtype)
    return state
