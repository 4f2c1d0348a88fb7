"""Released weights of MA-LMM and of what it starts from, as a VideoLanguageModel: strict, and with a report of all keys.

Three ways:

- `plug_in(load(folder))`: a Hugging Face InstructBLIP folder with a memory put on it, nothing trained (zero-shot);
- `load_finetuned(file, base)`: MA-LMM's file, which holds only what it trained, over such a model;
- `assemble(config, …)`: LAVIS' own files (`from_lavis`, `from_eva`) and a Vicuna folder (`from_vicuna`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidweave.connectors.qformer_keys import lavis_connector_keys
from vidweave.encoders.eva_vit import LAVIS_EVA_VIT, eva_from_lavis
from vidweave.errors import CheckpointError, ConfigError
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import VideoLanguageConfig
from vidweave.model.conversion import KeyReport, Request, Source, options_of, read_released, write_model
from vidweave.model.conversion import assemble as assemble_model
from vidweave.model.files import check_keys, read_weights
from vidweave.model.released import Checkpoint, read_checkpoint
from vidweave.model.stored import open_model
from vidweave.nn.keys import KeyTable
from vidweave.registry import CHECKPOINT_FORMATS
from vidweave.systems.malmm.preset import BeyondTimes, with_memory

__all__ = [
    "assemble",
    "convert",
    "from_eva",
    "from_lavis",
    "from_vicuna",
    "load_finetuned",
    "load_plugged",
    "plug_in",
]

NO_WEIGHT = "computed, or used by no path"
TIMES = "connector.ports.video.time_embedding"
LANGUAGE = KeyTable((("llm_model.", "language_model.model."),), dropped=(r"llm_model\..*rotary_emb\.inv_freq",))


def from_lavis(state: Mapping[str, Tensor], name: str = "lavis") -> Source:
    """LAVIS' InstructBLIP file or MA-LMM's: connector, and what else it may hold of the tower and the language model.

    Raises:
        CheckpointError: keys that belong to neither.
    """
    vision = {k.removeprefix("visual_encoder."): v for k, v in state.items() if k.startswith("visual_encoder.")}
    language = {k: v for k, v in state.items() if k.startswith("llm_model.")}
    rest = {k: v for k, v in state.items() if not k.startswith(("visual_encoder.", "llm_model."))}
    projection = "t5_proj" if any(k.startswith("t5_proj.") for k in rest) else "llm_proj"
    table = lavis_connector_keys(projection=projection)
    ours = {f"connector.{k}": v for k, v in table.to_ours(rest).items()}
    ours |= {f"encoders.vision.{k}": v for k, v in eva_from_lavis(vision).items()} | LANGUAGE.to_ours(language)
    dropped = _dropped(table, rest) | _dropped(LANGUAGE, language)
    dropped |= {f"visual_encoder.{key}": why for key, why in _dropped(LAVIS_EVA_VIT, vision).items()}
    return Source(name, ours, dropped)


def from_eva(state: Mapping[str, Tensor], name: str = "eva_vit_g") -> Source:
    """LAVIS' file of the vision tower alone."""
    ours = {f"encoders.vision.{key}": value for key, value in eva_from_lavis(state).items()}
    return Source(name, ours, _dropped(LAVIS_EVA_VIT, state))


def from_vicuna(folder: Path, name: str = "vicuna") -> Source:
    """A folder of transformers' Llama."""
    state = read_weights(folder)
    kept = {f"language_model.model.{k}": v for k, v in state.items() if not k.endswith("rotary_emb.inv_freq")}
    return Source(name, kept, {k: NO_WEIGHT for k in state if k.endswith("rotary_emb.inv_freq")})


def assemble(
    config: VideoLanguageConfig, *sources: Source, dtype: Any = None, device_map: Any = None
) -> tuple[VideoLanguageModel, KeyReport]:
    """One model from several sources, see `model.conversion.assemble`.

    A table of times that no source holds starts at zero, and so do rows of the vocabulary behind the source's (padding).
    """
    return assemble_model(config, *sources, fill=_add_missing, dtype=dtype, device_map=device_map)


def plug_in(model: VideoLanguageModel, **settings: Any) -> VideoLanguageModel:
    """The same weights with a memory, untrained; `settings` are those of `with_memory`. Weights are shared, not copied."""
    config = with_memory(model.built_config(), **settings)
    source = Source(model.config.name or "the model", model.state_dict())
    return _with_processor(assemble(config, source, dtype=model.dtype)[0], model)


def load_plugged(
    folder: Path, preset: VideoLanguageConfig, *, quantization_config: Any = None, **how: Any
) -> VideoLanguageModel:
    """A Hugging Face InstructBLIP folder with the memory, pictures and decoding of `preset`.

    Raises:
        ConfigError: `quantization_config`, since the memory is plugged in after the weights are loaded.
    """
    if quantization_config is not None:
        raise ConfigError(
            f"{preset.name} gets its memory after loading, when nothing can be quantized; save it, and load that folder "
            "with quantization_config"
        )
    base = CHECKPOINT_FORMATS.get("instructblip")(folder, **how)
    spec = preset.parse()
    memory, need = spec.connector.trunks["qformer"].memory, spec.streams["video"].need
    model = plug_in(base, length=memory.length, num_frames=need.num_frames, decoding=spec.decoding)
    model.config.name = preset.name
    return model


def load_finetuned(
    file: str | Path,
    base: VideoLanguageModel,
    *,
    length: int,
    num_frames: int,
    beyond_times: BeyondTimes = "error",
    decoding: Mapping[str, Any] | None = None,
) -> tuple[VideoLanguageModel, KeyReport]:
    """MA-LMM's released file over an InstructBLIP model without memory, which brings the frozen parts.

    Args:
        length: Entries per bank, and `num_frames` pictures per clip, that the file was trained with: it does not say.
        beyond_times: `last` for streams of any length; `error` is the original.

    Raises:
        CheckpointError: the file lacks a weight of the connector, or holds one that does not fit.
    """
    checkpoint = read_checkpoint(file)
    settings = Settings(length=length, num_frames=num_frames, beyond_times=beyond_times)
    source = _finetuned(checkpoint, settings)
    config = _config(source, base.config, settings, decoding)
    below = Source(base.config.name or "base", base.state_dict())
    model, report = assemble(config, below, source, dtype=base.dtype)
    return _with_processor(model, base), report


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What MA-LMM's file does not say; see `load_finetuned`."""

    length: int
    num_frames: int
    beyond_times: BeyondTimes = "error"

    def __post_init__(self) -> None:
        if self.length < 1 or self.num_frames < 1:
            raise ConfigError(f"length and num_frames must be 1 or more, got {self.length} and {self.num_frames}")


def convert(request: Request) -> KeyReport:
    """MA-LMM's released file over an InstructBLIP `base`, as a folder of ours."""
    request.expect(base=True)
    settings = options_of(Settings, request)
    if request.base is None:
        raise ConfigError(
            "MA-LMM's file holds what it trained alone; give the InstructBLIP that it was trained on (base)"
        )
    checkpoint = read_released(request, "malmm")
    source = _finetuned(checkpoint, settings)
    base = open_model(request.base)
    below = Source(base.config.name or "base", base.state, files=base.files, role="base")
    config = _config(source, base.config, settings)
    return write_model(request, config, below, source, processor=base.processor, settings=settings)


def _finetuned(checkpoint: Checkpoint, settings: Settings) -> Source:
    """The file's weights; raises CheckpointError without a table of times, ConfigError for one that is too short."""
    found = from_lavis(checkpoint.state, checkpoint.name)
    source = Source.of(checkpoint, found.state, found.dropped)
    if TIMES not in source.state:
        raise CheckpointError(f"{source.name} holds no image_pe.weight; a file of InstructBLIP needs plug_in, not this")
    rows = len(source.state[TIMES])  # type: ignore[arg-type]  # tensors of a file
    if settings.num_frames > rows and settings.beyond_times == "error":
        raise ConfigError(
            f"{source.name} has times for {rows} frames, and num_frames={settings.num_frames} asks for more: such a model "
            f"could answer nothing; give num_frames of at most {rows}, or beyond_times=clamp or last"
        )
    return source


def _config(
    source: Source, base: VideoLanguageConfig, settings: Settings, decoding: Mapping[str, Any] | None = None
) -> VideoLanguageConfig:
    """The base with a memory; raises CheckpointError where the file does not fill its connector."""
    config = with_memory(
        base,
        length=settings.length,
        num_frames=settings.num_frames,
        num_time_positions=source.state[TIMES].shape[0],
        beyond_times=settings.beyond_times,
        decoding=decoding,
    )
    with torch.device("meta"):
        connector = VideoLanguageModel(config).connector.state_dict(prefix="connector.")
    given = {key: value for key, value in source.state.items() if key.startswith("connector.")}
    check_keys(source.name, connector, given)
    return config


def _with_processor(model: VideoLanguageModel, base: VideoLanguageModel) -> VideoLanguageModel:
    if base._processor is not None:
        model.processor = base.processor.for_config(model.config)
    return model


def _dropped(table: KeyTable, state: Mapping[str, Tensor]) -> dict[str, str]:
    return {key: NO_WEIGHT for key in state if any(re.fullmatch(pattern, key) for pattern in table.dropped)}


def _add_missing(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    return _add_times(state, expected) + _add_vocabulary(state, expected)


def _add_times(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    if TIMES not in expected or TIMES in state:
        return []
    state[TIMES] = torch.zeros(expected[TIMES].shape)
    return [TIMES]


def _add_vocabulary(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Rows of tokens that LAVIS adds to the tokenizer (padding), which no prompt shows and no answer holds."""
    fresh = []
    for key in (key for key in expected if key.endswith(("embed_tokens.weight", "lm_head.weight"))):
        have, want = state.get(key), expected[key]
        if have is not None and have.shape[1:] == want.shape[1:] and 0 < len(want) - len(have) <= 8:
            state[key] = torch.cat([have, have.new_zeros(len(want) - len(have), *have.shape[1:])])
            fresh.append(f"{key}[{len(have)}:]")
    return fresh
