"""Loader of MA-LMM's released weights and of its base checkpoints as a VideoLanguageModel: strict, with a report of all keys.

Three ways:

- `plug_in(load(folder))`: a Hugging Face InstructBLIP folder with a memory added, untrained (zero-shot);
- `load_finetuned(file, base)`: MA-LMM's file, which has only the trained weights, over such a model;
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

NO_WEIGHT = "computed, or never used"
TIMES = "connector.ports.video.time_embedding"
LANGUAGE = KeyTable((("llm_model.", "language_model.model."),), dropped=(r"llm_model\..*rotary_emb\.inv_freq",))


def from_lavis(state: Mapping[str, Tensor], name: str = "lavis") -> Source:
    """Read LAVIS' InstructBLIP file or MA-LMM's: connector, and any weights of the tower and the language model.

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
    """Read LAVIS' file of the vision tower alone."""
    ours = {f"encoders.vision.{key}": value for key, value in eva_from_lavis(state).items()}
    return Source(name, ours, _dropped(LAVIS_EVA_VIT, state))


def from_vicuna(folder: Path, name: str = "vicuna") -> Source:
    """Read a folder of transformers' Llama."""
    state = read_weights(folder)
    kept = {f"language_model.model.{k}": v for k, v in state.items() if not k.endswith("rotary_emb.inv_freq")}
    return Source(name, kept, {k: NO_WEIGHT for k in state if k.endswith("rotary_emb.inv_freq")})


def assemble(
    config: VideoLanguageConfig, *sources: Source, dtype: Any = None, device_map: Any = None
) -> tuple[VideoLanguageModel, KeyReport]:
    """Assemble one model from several sources, see `model.conversion.assemble`.

    A missing table of time steps starts at zero, and so do vocabulary rows beyond the source's (padding).
    """
    return assemble_model(config, *sources, fill=_add_missing, dtype=dtype, device_map=device_map)


def plug_in(model: VideoLanguageModel, **settings: Any) -> VideoLanguageModel:
    """Add an untrained memory to a model; `settings` are those of `with_memory`. Weights are shared, not copied."""
    config = with_memory(model.built_config(), **settings)
    source = Source(model.config.name or "the model", model.state_dict())
    return _with_processor(assemble(config, source, dtype=model.dtype)[0], model)


def load_plugged(
    folder: Path, preset: VideoLanguageConfig, *, quantization_config: Any = None, **options: Any
) -> VideoLanguageModel:
    """Load a Hugging Face InstructBLIP folder with the memory, number of frames and decoding of `preset`.

    Raises:
        ConfigError: `quantization_config`, since the memory is plugged in after the weights are loaded.
    """
    if quantization_config is not None:
        raise ConfigError(
            f"{preset.name} gets its memory after loading, when nothing can be quantized; save it, and load that folder "
            "with quantization_config"
        )
    base = CHECKPOINT_FORMATS.get("instructblip")(folder, **options)
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
    """Load MA-LMM's released file over an InstructBLIP model without memory, which provides the frozen parts.

    Args:
        length: Entries per bank, and `num_frames` frames per clip, of the file's training: it does not contain them.
        beyond_times: `last` for streams of any length; `error` is the original.

    Raises:
        CheckpointError: the file lacks a weight of the connector, or has one of the wrong shape.
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
    """Settings that MA-LMM's file does not contain; see `load_finetuned`."""

    length: int
    num_frames: int
    beyond_times: BeyondTimes = "error"

    def __post_init__(self) -> None:
        if self.length < 1 or self.num_frames < 1:
            raise ConfigError(f"length and num_frames must be 1 or more, got {self.length} and {self.num_frames}")


def convert(request: Request) -> KeyReport:
    """Convert MA-LMM's released file over an InstructBLIP `base` to a folder."""
    request.expect(base=True)
    settings = options_of(Settings, request)
    if request.base is None:
        raise ConfigError(
            "MA-LMM's file has only the trained weights; give the InstructBLIP that it was trained on (base)"
        )
    checkpoint = read_released(request, "malmm")
    source = _finetuned(checkpoint, settings)
    base = open_model(request.base)
    below = Source(base.config.name or "base", base.state, files=base.files, role="base")
    config = _config(source, base.config, settings)
    return write_model(request, config, below, source, processor=base.processor, settings=settings)


def _finetuned(checkpoint: Checkpoint, settings: Settings) -> Source:
    """Read the file's weights; raise CheckpointError without a table of time steps, ConfigError for one that is too short."""
    renamed = from_lavis(checkpoint.state, checkpoint.name)
    source = Source.of(checkpoint, renamed.state, renamed.dropped)
    if TIMES not in source.state:
        raise CheckpointError(f"{source.name} has no image_pe.weight; use plug_in for a file of InstructBLIP")
    rows = len(source.state[TIMES])  # type: ignore[arg-type]  # tensors of a file
    if settings.num_frames > rows and settings.beyond_times == "error":
        raise ConfigError(
            f"{source.name} has time steps for {rows} frames, and num_frames={settings.num_frames} is more: such a model "
            f"could not answer anything; give num_frames of at most {rows}, or beyond_times=clamp or last"
        )
    return source


def _config(
    source: Source, base: VideoLanguageConfig, settings: Settings, decoding: Mapping[str, Any] | None = None
) -> VideoLanguageConfig:
    """Add the memory to the base; raise CheckpointError if the file does not fill its connector."""
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
    """Add zero rows for tokens that LAVIS adds to the tokenizer (padding), which no prompt or answer contains."""
    fresh = []
    for key in (key for key in expected if key.endswith(("embed_tokens.weight", "lm_head.weight"))):
        source, target = state.get(key), expected[key]
        if source is not None and source.shape[1:] == target.shape[1:] and 0 < len(target) - len(source) <= 8:
            state[key] = torch.cat([source, source.new_zeros(len(target) - len(source), *source.shape[1:])])
            fresh.append(f"{key}[{len(source)}:]")
    return fresh
