"""From settings to a model with pretrained towers and language model, and a new, silent connector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidweave.connectors.connector import Connector
from vidweave.errors import CheckpointError
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.bases import slot_state
from vidweave.model.compose.connectors import connector_for, pools_for
from vidweave.model.compose.motion import selector_and_motion
from vidweave.model.compose.parts import EncoderPart, LanguagePart, read_encoders, read_language_model
from vidweave.model.compose.prompt import prompt_for
from vidweave.model.compose.qformer_start import QFormerStart, read_qformer
from vidweave.model.compose.settings import Composition
from vidweave.model.compose.silence import neutral_embedding, silence
from vidweave.model.config import ModelSpec, StreamConfig, VideoLanguageConfig
from vidweave.model.files import listed, read_weights
from vidweave.model.processor import Processor
from vidweave.nn.numbers import is_finite

__all__ = ["compose_model"]


def compose_model(settings: Composition, *, dtype: Any = None) -> tuple[VideoLanguageModel, dict[str, str]]:
    """A model of `settings` with its processor, and where its frozen parts come from: state-dict root → source.

    The connector is new and can be trained; encoders and language model are frozen.

    Raises:
        CheckpointError: a part that is not there, or lacks a file or a weight.
        ConfigError, UnknownNameError: parts that do not fit each other.
    """
    language = read_language_model(settings.language_model)
    parts = read_encoders(settings.encoders, final_norm=settings.connector != "mlp", layer=settings.layer)
    start = None if settings.qformer is None else read_qformer(settings.qformer)
    config = _config(settings, parts, language, start)
    model = VideoLanguageModel.from_state(config, _state(config, parts, language, start), what="the parts", dtype=dtype)
    model.processor = Processor(config, {"language": language.tokenizer})
    model.requires_grad_(False)
    model.connector.requires_grad_(True)
    sources = {f"encoders.{part.name}": part.source for part in parts} | {"language_model": language.source}
    return model.eval(), sources


def _config(
    settings: Composition, parts: Sequence[EncoderPart], language: LanguagePart, start: QFormerStart | None
) -> VideoLanguageConfig:
    selector, watchers, watched = selector_and_motion(settings.selector, language)
    connector = connector_for(settings, parts, language.config.width, start=None if start is None else start.config)
    pools = pools_for(settings, parts)
    streams = {part.name: _stream(settings, part, pools[part.name]) for part in parts}
    blocks = connector.fusion.build(tuple(connector.ports), connector.output_width).block_names
    is_optional = any(port.absent == "skip" for port in connector.ports.values())
    spec = ModelSpec(
        selector=selector,
        encoders={**{part.name: part.config for part in parts}, **watchers},
        streams={**streams, **watched},
        connector=connector,
        language_model=language.config,
        layout=prompt_for(language, blocks, settings.choices, optional=is_optional),
    )
    return VideoLanguageConfig(spec, name="composed")


def _stream(settings: Composition, part: EncoderPart, pool: Any) -> StreamConfig:
    need = part.need(settings.num_frames)
    return StreamConfig(encoder=part.name, modalities=part.modalities, need=need, pool=pool)


def _state(
    config: VideoLanguageConfig, parts: Sequence[EncoderPart], language: LanguagePart, start: QFormerStart | None
) -> dict[str, Tensor]:
    """Weights of all parts under our names."""
    with torch.device("meta"):
        skeleton = VideoLanguageModel(config)
    state: dict[str, Tensor] = {}
    for part in parts:
        root, what = f"encoders.{part.name}", f"the encoder {part.source!r}"
        state |= slot_state(root, _finite_weights(part.folder, what), skeleton, what)
    what = f"the language model {language.source!r}"
    state |= slot_state("language_model", _finite_weights(language.folder, what), skeleton, what)
    spec = skeleton.spec
    table = state[_embedding_name(skeleton)]
    fresh = {"connector": _connector(spec, start, neutral_embedding(table, language.tokenizer))}
    fresh |= {"selector": spec.selector.build()}
    fresh |= {f"encoders.{n}": spec.encoders[n].build() for n in spec.encoders if f"encoders.{n}" not in _roots(parts)}
    for root, module in fresh.items():
        state |= {f"{root}.{name}": tensor for name, tensor in module.state_dict().items()}
    return state


def _finite_weights(folder: Path, what: str) -> dict[str, Tensor]:
    """All tensors of a folder; raises CheckpointError for NaN or infinity, with which no answer could be trusted."""
    state = read_weights(folder)
    if bad := [name for name, tensor in state.items() if not is_finite(tensor)]:
        raise CheckpointError(
            f"{what} has {listed('weights with NaN or infinity', bad, 4)}; get another copy of {folder}"
        )
    return state


def _roots(parts: Sequence[EncoderPart]) -> set[str]:
    return {f"encoders.{part.name}" for part in parts}


def _embedding_name(model: VideoLanguageModel) -> str:
    table = model.language_model.model.get_input_embeddings().weight
    return next(name for name, tensor in model.named_parameters() if tensor is table)


def _connector(spec: ModelSpec, start: QFormerStart | None, neutral: Tensor) -> Connector:
    connector = spec.connector.build()
    if start is not None:
        start.put_into(connector)
    silence(connector, neutral)
    return connector
