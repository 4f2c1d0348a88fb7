"""Loader of transformers' BLIP-2, InstructBLIP and InstructBLIP-Video folders as a VideoLanguageModel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from transformers import CONFIG_MAPPING

from vidweave.connectors.qformer import QFormerConfig
from vidweave.connectors.qformer_keys import connector_keys
from vidweave.errors import CheckpointError
from vidweave.language.causal import CausalConfig
from vidweave.language.pretrained import with_end_tokens
from vidweave.language.seq2seq import Seq2SeqConfig
from vidweave.language.tokenizer import load_tokenizer
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import VideoLanguageConfig
from vidweave.model.files import read_json, read_weights
from vidweave.model.processor import Processor
from vidweave.model.sharded import LazyTensor, read_lazily
from vidweave.nn.config_guard import checked_config, class_config
from vidweave.nn.keys import KeyTable
from vidweave.systems.blip2.preset import Form, blip2, prompt_layout
from vidweave.types import TextSpec

__all__ = ["config_from_folder", "load_folder", "load_named", "open_folder", "to_ours"]

Value = TypeVar("Value")
FORMS: dict[str, Form] = {"blip-2": "blip2", "instructblip": "instructblip", "instructblipvideo": "instructblip"}
QFORMER_TOKENIZER = "qformer"


def load_folder(folder: Path, *, preset: VideoLanguageConfig | None = None, **options: Any) -> VideoLanguageModel:
    """Load a model with its processor from a folder of transformers.

    Args:
        preset: Configuration whose name, prompt and decoding replace the defaults of this kind of folder.
        options: `dtype`, `device_map` and `quantization_config` of transformers' `from_pretrained`.

    Raises:
        CheckpointError: a configuration or weights that are not of this layout (keys are listed).
    """
    config = config_from_folder(folder)
    if preset is not None:
        config.name = preset.name
        config.spec |= {key: preset.spec[key] for key in ("layout", "decoding")}
    state = to_ours(read_weights(folder), _form(_read_config(folder)))
    model = VideoLanguageModel.from_state(config, state, what=str(folder), **options)
    processor = _processor(folder, config)
    if processor is not None:
        model.processor = processor
    return model


def load_named(folder: Path, config: VideoLanguageConfig, **options: Any) -> VideoLanguageModel:
    """Load the folder of a registered name, with the prompt and decoding of `config`, which no file of the folder has."""
    return load_folder(folder, preset=config, **options)


def open_folder(folder: Path) -> tuple[VideoLanguageConfig, dict[str, LazyTensor], Processor | None]:
    """Open the configuration, lazily read weights, and processor of a folder of transformers; raises as `load_folder`."""
    config = config_from_folder(folder)
    state = to_ours(read_lazily(folder), _form(_read_config(folder)))
    return config, state, _processor(folder, config)


def to_ours(state: Mapping[str, Value], form: Form) -> dict[str, Value]:
    """Rename transformers' keys to ours; every key must be known."""
    connector = connector_keys(form)
    table = KeyTable(
        (
            *((theirs, f"connector.{ours}") for theirs, ours in connector.pairs),
            ("vision_model.", "encoders.vision.tower."),
            ("language_model.", "language_model.model."),
        ),
        # computed, stored by old releases
        dropped=(*connector.dropped, r"language_model\..*rotary_emb\.inv_freq", r".*\.position_ids"),
    )
    return table.to_ours(state)


def config_from_folder(folder: Path) -> VideoLanguageConfig:
    """Build our configuration from transformers' config.json, with missing fields filled by transformers' classes."""
    data = _read_config(folder)
    form, where = _form(data), f"config.json of {folder}"
    cls = CONFIG_MAPPING[data["model_type"]]
    data = checked_config(data, cls, where, unknown="drop")
    whole: Any = class_config(data, cls, where)
    text = with_end_tokens({**data["text_config"], "model_type": whole.text_config.model_type}, folder)
    is_seq2seq = bool(whole.text_config.is_encoder_decoder)
    vision = {key: value for key in _VISION if (value := getattr(whole.vision_config, key, None)) is not None}
    return blip2(
        form,
        name=folder.name,
        vision={"model_type": "blip_2_vision_model", **vision},
        qformer=_qformer(whole.qformer_config, form),
        num_query_tokens=whole.num_query_tokens,
        language_model=(Seq2SeqConfig if is_seq2seq else CausalConfig)(config=text),
        layout=prompt_layout(is_seq2seq),
    )


def _qformer(config: Any, form: Form) -> QFormerConfig:
    reads_text = form == "instructblip"
    text_spec = TextSpec(tokenizer=QFORMER_TOKENIZER, max_tokens=config.max_position_embeddings)
    return QFormerConfig(
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        intermediate=config.intermediate_size,
        cross_attention_frequency=config.cross_attention_frequency,
        encoder_width=config.encoder_hidden_size,
        vocab_size=config.vocab_size if reads_text else 0,
        max_positions=config.max_position_embeddings,
        layer_norm_eps=config.layer_norm_eps,
        text_spec=text_spec if reads_text else None,
    )


def _read_config(folder: Path) -> dict[str, Any]:
    data = read_json(folder / "config.json")
    for part in ("vision_config", "qformer_config", "text_config"):
        if not isinstance(data.get(part), dict):
            raise CheckpointError(f"{folder} has no readable config.json of BLIP-2 or InstructBLIP (no {part})")
    return data


def _form(data: dict[str, Any]) -> Form:
    try:
        return FORMS[data["model_type"]]
    except KeyError as error:
        raise CheckpointError(f"model_type {error} is not one of {', '.join(FORMS)}") from error


# Fields of transformers' vision configurations that define a tower; the rest of the file does not affect weights.
_VISION = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "image_size",
    "patch_size",
    "layer_norm_eps",
    "qkv_bias",
    "hidden_act",
)


def _processor(folder: Path, config: VideoLanguageConfig) -> Processor | None:
    """Build the processor with the language model's tokenizer, and the Q-Former's if it reads text; None without any."""
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        return None
    tokenizers = {"language": load_tokenizer(folder)}
    if "trunk" in config.parse().text:
        inner = folder / "qformer_tokenizer"
        if not inner.is_dir():
            raise CheckpointError(
                f"{folder} has no qformer_tokenizer folder, which the Q-Former needs to read the question; copy it from the "
                "model's repository on the hub"
            )
        tokenizers[QFORMER_TOKENIZER] = load_tokenizer(inner)
    return Processor(config, tokenizers)
