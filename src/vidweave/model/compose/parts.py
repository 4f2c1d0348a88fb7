"""The pretrained parts of a composed model: what their own files say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from vidweave.encoders.families import family_of
from vidweave.encoders.vision_tower import VisionTowerConfig, tower_fields
from vidweave.errors import CheckpointError, ConfigError
from vidweave.language.causal import CausalConfig
from vidweave.language.pretrained import source_config
from vidweave.language.seq2seq import Seq2SeqConfig
from vidweave.language.tokenizer import load_tokenizer
from vidweave.model.compose.preprocessing import visual_spec
from vidweave.model.files import read_json, read_model_type
from vidweave.model.look_first import locate_part
from vidweave.nn.config_guard import without_remote_code
from vidweave.registry import ENCODERS
from vidweave.types import FrameNeed, component_from_dict

__all__ = ["EncoderPart", "LanguagePart", "read_encoders", "read_language_model"]

ENCODER_TYPE = "vidweave_encoder"  # `model_type` of a folder that holds one of our encoders alone


@dataclass(frozen=True)
class EncoderPart:
    """A pretrained tower.

    Attributes:
        name: Of its encoder, stream and port.
        source: As it was given: a folder or hub id.
        folder: Where its files are.
        config: Our configuration of it.
        modalities: That may feed it.
        follows_selection: Its frames are those that the selector chose.
    """

    name: str
    source: str
    folder: Path
    config: Any
    modalities: tuple[str, ...] = ("video", "image")
    follows_selection: bool = True

    @cached_property
    def module(self) -> Any:
        """The encoder on the meta device, for its sizes."""
        with torch.device("meta"):
            return self.config.build()

    @property
    def width(self) -> int:
        return int(self.module.width)

    @property
    def window(self) -> int:
        """Frames that it takes together."""
        return int(getattr(self.module, "window", 1))

    @property
    def steps(self) -> int:
        """Points in time that its tokens of one window stand for."""
        return int(getattr(self.module, "num_steps", 1))

    @property
    def tokens(self) -> int:
        """Tokens of one frame, or of one step of a video tower or window of an audio tower."""
        return int(self.module.num_tokens) // self.steps

    def need(self, num_frames: int) -> FrameNeed:
        """Which frames its stream samples.

        Raises:
            ConfigError: a number of frames that a video tower cannot divide into its windows.
        """
        if not self.follows_selection:
            return FrameNeed(follow_selection=False)
        if num_frames % self.window:
            raise ConfigError(
                f"{self.source!r} encodes {self.window} frames together; set num_frames to a multiple of {self.window}, got "
                f"{num_frames}"
            )
        return FrameNeed(num_frames=num_frames, window=self.window, still="once" if self.window == 1 else "repeat")


@dataclass(frozen=True)
class LanguagePart:
    """A pretrained language model and its tokenizer; attributes as of `EncoderPart`."""

    source: str
    folder: Path
    config: CausalConfig | Seq2SeqConfig
    tokenizer: Any

    @property
    def is_seq2seq(self) -> bool:
        return isinstance(self.config, Seq2SeqConfig)


def read_encoders(sources: Sequence[str | Path], *, final_norm: bool, layer: int) -> list[EncoderPart]:
    """The towers behind folders or hub ids, named after their families; also shipped encoders (`tiny-rgb`).

    Args:
        final_norm: Use the tower's own last norm.
        layer: Which hidden state is used, see `VisionTowerConfig`.

    Raises:
        CheckpointError: a source that is not there or lacks a file.
        ConfigError, UnknownNameError: a model that is no tower of patches.
    """
    parts: list[EncoderPart] = []
    for source in sources:
        folder = locate_part(source, _checked)
        taken = [part.name for part in parts]
        if read_model_type(folder) == ENCODER_TYPE:
            parts.append(_own_part(source, folder, taken))
            continue
        fields = _fields(folder)
        name = _free_name(str(fields["model_type"]), taken)
        parts.append(_vision_part(name, source, folder, fields, final_norm=final_norm, layer=layer))
    return parts


def _checked(folder: Path) -> None:
    """Raise unless the folder's configuration is one that `read_encoders` reads."""
    if read_model_type(folder) != ENCODER_TYPE:
        _fields(folder)


def _own_part(source: str | Path, folder: Path, taken: Sequence[str]) -> EncoderPart:
    """An encoder of ours by itself: config.json holds its `name` and, under `encoder`, its configuration."""
    data = read_json(folder / "config.json")
    config = component_from_dict(ENCODERS, data.get("encoder"))
    modalities = tuple(config.specs)
    is_visual = "video" in modalities
    name = _free_name(str(data.get("name", "encoder")), taken)
    return EncoderPart(name, str(source), folder, config, modalities, follows_selection=is_visual)


def _fields(folder: Path) -> dict[str, Any]:
    data = without_remote_code(read_json(folder / "config.json"), f"config.json of {folder}")
    return tower_fields(data, unknown="drop")


def _free_name(model_type: str, taken: Sequence[str]) -> str:
    words = model_type.replace("-", "_").removesuffix("_model").removesuffix("_vision")
    return next(n for n in (words, *(f"{words}_{i}" for i in range(2, len(taken) + 3))) if n not in taken)


def _vision_part(
    name: str, source: str | Path, folder: Path, fields: dict[str, Any], *, final_norm: bool, layer: int
) -> EncoderPart:
    family, spec = family_of(fields["model_type"]), visual_spec(folder)
    has_layers = family.has_plain_layers
    config = VisionTowerConfig(
        config=fields,
        layer=layer if has_layers else -1,
        drop_cls=True,
        final_norm=final_norm and layer == -1 and family.norm is not None,
        specs={"video": spec, "image": spec},
    )
    return EncoderPart(name, str(source), folder, config)


def read_language_model(source: str | Path) -> LanguagePart:
    """The causal or sequence-to-sequence model behind a folder or hub id, with its tokenizer.

    Raises:
        CheckpointError: a source that is not there, lacks a file or cannot end an answer.
        ConfigError: a model of another kind.
    """
    folder = locate_part(source, _language_class)
    cls = _language_class(folder)
    tokenizer = load_tokenizer(folder)
    config = _with_end(source_config(str(folder)), tokenizer, source)
    part = LanguagePart(str(source), folder, cls(config=config), tokenizer)
    _check_vocabulary(part)
    return part


def _language_class(folder: Path) -> type[CausalConfig] | type[Seq2SeqConfig]:
    model_type = read_model_type(folder)
    # BART and its like are in both lists; their folders hold the whole model
    cls = next((c for c in (Seq2SeqConfig, CausalConfig) if model_type in c.family), None)
    if cls is None:
        raise ConfigError(
            f"{folder} holds a {model_type!r} model, which is no causal or sequence-to-sequence language model of transformers; "
            "give such a model as language_model, and towers as encoders"
        )
    return cls


def _with_end(config: dict[str, Any], tokenizer: Any, source: str | Path) -> dict[str, Any]:
    """End tokens of the model and of its tokenizer, each of which may be missing from one of the two."""
    ends = config.get("eos_token_id")
    if ends is None and tokenizer.eos_token_id is None:
        raise CheckpointError(
            f"neither the configuration nor the tokenizer of {str(source)!r} has an end token, so no answer would end; set "
            "eos_token_id in its config.json and eos_token in its tokenizer_config.json"
        )
    first = ends[0] if isinstance(ends, (list, tuple)) else ends
    if tokenizer.eos_token_id is None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(first)
    known = list(ends) if isinstance(ends, (list, tuple)) else [ends] if ends is not None else []
    known = known if tokenizer.eos_token_id in known else [*known, tokenizer.eos_token_id]
    config = {**config, "eos_token_id": known[0] if len(known) == 1 else known}
    if config.get("pad_token_id") is None:  # prompts are padded with a mask; generation wants to know some token for it
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        config["pad_token_id"] = pad
    return config


def _check_vocabulary(part: LanguagePart) -> None:
    rows, ids = part.config.transformers_config().get_text_config().vocab_size, len(part.tokenizer)
    if ids > rows:
        raise CheckpointError(
            f"the tokenizer of {part.source!r} knows {ids} tokens, its model {rows}; take tokenizer and model from one folder"
        )
