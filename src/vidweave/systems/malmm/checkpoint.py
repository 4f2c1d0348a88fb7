"""Released weights of MA-LMM and of what it starts from, as a VideoLanguageModel: strict, and with a report of all keys.

Three ways:

- `plug_in(load(folder))`: a Hugging Face InstructBLIP folder with a memory put on it, nothing trained (zero-shot);
- `load_finetuned(file, base)`: MA-LMM's file, which holds only what it trained, over such a model;
- `assemble(config, …)`: LAVIS' own files (`from_lavis`, `from_eva`) and a Vicuna folder (`from_vicuna`).
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from vidweave.connectors.qformer_keys import lavis_connector_keys
from vidweave.encoders.eva_vit import LAVIS_EVA_VIT, eva_from_lavis
from vidweave.errors import CheckpointError
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import VideoLanguageConfig
from vidweave.model.files import check_keys, read_weights
from vidweave.nn.keys import KeyTable
from vidweave.registry import CHECKPOINT_FORMATS
from vidweave.systems.malmm.preset import with_memory

__all__ = [
    "KeyReport",
    "Source",
    "assemble",
    "from_eva",
    "from_lavis",
    "from_vicuna",
    "load_finetuned",
    "load_plugged",
    "plug_in",
    "read_checkpoint",
]

TIMES = "connector.ports.video.time_embedding"
LANGUAGE = KeyTable((("llm_model.", "language_model.model."),), dropped=(r"llm_model\..*rotary_emb\.inv_freq",))


@dataclass(frozen=True)
class Source:
    """Weights of one file under our names, and the keys of the file that hold none."""

    name: str
    state: Mapping[str, Tensor]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeyReport:
    """Where every weight of a model came from.

    Attributes:
        loaded: Source → our names that it filled.
        replaced: Our names that an earlier source had filled too.
        dropped: Source → its keys that hold no weight of ours.
        fresh: Our names, or parts of them, that no source holds, and which start at zero.
    """

    loaded: Mapping[str, tuple[str, ...]]
    replaced: tuple[str, ...] = ()
    dropped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fresh: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """For people: one line per source and finding."""
        lines = [f"{name}: {len(keys)} weights" for name, keys in self.loaded.items()]
        lines += [f"{name}: left out {', '.join(keys)}" for name, keys in self.dropped.items() if keys]
        lines += [f"replaced by a later file: {len(self.replaced)} weights"] if self.replaced else []
        return lines + ([f"started at zero: {', '.join(self.fresh)}"] if self.fresh else [])


def read_checkpoint(file: str | Path) -> dict[str, Tensor]:
    """Tensors of a `.pth` file (never its code), of the dict `model` inside it if there is one.

    Raises:
        CheckpointError: not there, not a dict of tensors, or a file that would have to run code.
    """
    try:
        data = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{Path(file).name} cannot be read as a file of tensors alone ({reason})") from error
    state = data.get("model", data) if isinstance(data, dict) else data
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{Path(file).name} holds no dict of tensors, neither at the top nor under 'model'")
    return state


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
    dropped = [*_dropped(table, rest), *_dropped(LANGUAGE, language)]
    dropped += [f"visual_encoder.{key}" for key in _dropped(LAVIS_EVA_VIT, vision)]
    return Source(name, ours, tuple(dropped))


def from_eva(state: Mapping[str, Tensor], name: str = "eva_vit_g") -> Source:
    """LAVIS' file of the vision tower alone."""
    ours = {f"encoders.vision.{key}": value for key, value in eva_from_lavis(state).items()}
    return Source(name, ours, tuple(_dropped(LAVIS_EVA_VIT, state)))


def from_vicuna(folder: Path, name: str = "vicuna") -> Source:
    """A folder of transformers' Llama."""
    state = read_weights(folder)
    kept = {f"language_model.model.{k}": v for k, v in state.items() if not k.endswith("rotary_emb.inv_freq")}
    return Source(name, kept, tuple(k for k in state if k.endswith("rotary_emb.inv_freq")))


def assemble(
    config: VideoLanguageConfig, *sources: Source, dtype: Any = None, device_map: Any = None
) -> tuple[VideoLanguageModel, KeyReport]:
    """One model from several sources, the later ones over the earlier ones; and where each weight came from.

    A table of times that no source holds starts at zero, and so do rows of the vocabulary behind the source's (padding).

    Raises:
        CheckpointError: missing, extra or mis-shaped keys; the message lists them.
    """
    with torch.device("meta"):
        skeleton = VideoLanguageModel(config)
    expected = skeleton.state_dict()
    state: dict[str, Tensor] = {}
    replaced: list[str] = []
    for source in sources:
        replaced += [key for key in source.state if key in state]
        state |= source.state
    fresh = _add_times(state, expected) + _add_vocabulary(state, expected)
    what = " and ".join(source.name for source in sources)
    arguments = {"dtype": dtype, "device_map": device_map}
    model = VideoLanguageModel.from_state(config, state, what=what, skeleton=skeleton, **arguments)
    loaded = {source.name: tuple(source.state) for source in sources}
    dropped = {source.name: source.dropped for source in sources if source.dropped}
    return model.eval(), KeyReport(loaded, tuple(dict.fromkeys(replaced)), dropped, tuple(fresh))


def plug_in(model: VideoLanguageModel, **settings: Any) -> VideoLanguageModel:
    """The same weights with a memory, untrained; `settings` are those of `with_memory`. Weights are shared, not copied."""
    config = with_memory(model.config, **settings)
    source = Source(model.config.name or "the model", model.state_dict())
    return _with_processor(assemble(config, source, dtype=model.dtype)[0], model)


def load_plugged(
    folder: Path, preset: VideoLanguageConfig, *, dtype: Any = None, device_map: Any = None
) -> VideoLanguageModel:
    """A Hugging Face InstructBLIP folder with the memory, pictures and decoding of `preset`."""
    base = CHECKPOINT_FORMATS.get("instructblip")(folder, dtype=dtype, device_map=device_map)
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
    beyond_times: Literal["error", "clamp", "last"] = "error",
    decoding: Mapping[str, Any] | None = None,
) -> tuple[VideoLanguageModel, KeyReport]:
    """MA-LMM's released file over an InstructBLIP model without memory, which brings the frozen parts.

    Args:
        length: Entries per bank, and `num_frames` pictures per clip, that the file was trained with: it does not say.
        beyond_times: `last` for streams of any length; `error` is the original.

    Raises:
        CheckpointError: the file lacks a weight of the connector, or holds one that does not fit.
    """
    source = from_lavis(read_checkpoint(file), Path(file).name)
    if TIMES not in source.state:
        raise CheckpointError(f"{source.name} holds no image_pe.weight; a file of InstructBLIP needs plug_in, not this")
    rows = len(source.state[TIMES])
    config = with_memory(
        base.config,
        length=length,
        num_frames=num_frames,
        num_time_positions=rows,
        beyond_times=beyond_times,
        decoding=decoding,
    )
    with torch.device("meta"):
        connector = VideoLanguageModel(config).connector.state_dict(prefix="connector.")
    given = {key: value for key, value in source.state.items() if key.startswith("connector.")}
    check_keys(source.name, connector, given)
    model, report = assemble(config, Source(base.config.name or "base", base.state_dict()), source, dtype=base.dtype)
    return _with_processor(model, base), report


def _with_processor(model: VideoLanguageModel, base: VideoLanguageModel) -> VideoLanguageModel:
    if base._processor is not None:
        model.processor = base.processor.for_config(model.config)
    return model


def _dropped(table: KeyTable, state: Mapping[str, Tensor]) -> list[str]:
    return [key for key in state if any(re.fullmatch(pattern, key) for pattern in table.dropped)]


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
