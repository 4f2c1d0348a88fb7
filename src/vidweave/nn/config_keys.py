"""Keys of transformers' configurations: those a family reads, those no weight depends on, and those that are refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cache
from inspect import unwrap
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, PreTrainedConfig
from transformers.utils import logging

from vidweave.errors import CheckpointError

__all__ = [
    "ABOUT_THE_FILE",
    "HARMLESS",
    "known_keys",
    "nested_class",
    "nested_classes",
    "refuse_code",
    "refuse_dangerous",
    "refuse_lookups",
]

# What every config.json says about itself. The weights' dtype is chosen by whoever builds the model.
ABOUT_THE_FILE = frozenset(
    {"_commit_hash", "_name_or_path", "architectures", "dtype", "name_or_path", "torch_dtype", "transformers_version"}
)
# Settings of a call (we pass our own) and of heads we do not build: dropped even where a class declares them.
_SETTINGS = frozenset(
    "id2label label2id num_labels output_attentions output_hidden_states problem_type return_dict torchscript".split()
)
# Written by old releases of transformers into every configuration, whether or not the family knew them.
_OLD = frozenset(
    """activation_dropout add_cross_attention bad_words_ids begin_suppress_tokens cross_attention_hidden_size
    diversity_penalty do_sample dropout_rate early_stopping encoder_no_repeat_ngram_size exponential_decay_length_penalty
    finetuning_task forced_bos_token_id is_decoder length_penalty max_length max_sequence_length min_length
    n_positions no_repeat_ngram_size num_beam_groups num_beams num_return_sequences output_past output_scores prefix
    pruned_heads remove_invalid_values repetition_penalty return_dict_in_generate sep_token_id suppress_tokens
    task_specific_params temperature tf_legacy_loss tie_encoder_decoder tokenizer_class top_k top_p typical_p
    unk_token_id use_bfloat16 use_return_dict use_cache""".split()
)
HARMLESS = _SETTINGS | _OLD

# Read by transformers although no class declares them.
_UNDECLARED = frozenset(
    """bos_token_id decoder_start_token_id eos_token_id forced_eos_token_id pad_token_id per_layer_config rope_scaling
    rope_theta tie_word_embeddings""".split()
)
_WHERE_KEYS_ARE_READ = ("__init__", "__post_init__", "convert_rope_params_to_dict")
_KEY = re.compile(r"_?[a-z][a-z0-9_]+")

# Each can make transformers run code that a file names (CVE-2026-4372, CVE-2026-5241).
_RUN_CODE = {"auto_map", "custom_generate", "custom_pipelines", "trust_remote_code"}
_KERNELS = {"eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention", "grouped_mm", "batched_mm"}
_FETCH = {"backbone", "backbone_kwargs", "timm_model_args", "use_pretrained_backbone", "use_timm_backbone"}


def refuse_code(data: Any, where: str) -> None:
    """Raise CheckpointError for a key, at any depth, that can make transformers run code which the file names."""
    for key, value in _pairs(data):
        is_kernel = "_implementation" in key and value is not True and str(value) not in _KERNELS
        if key in _RUN_CODE or is_kernel:
            raise CheckpointError(
                f"{where} holds {key!r}, which can run code from elsewhere; remove it to load the rest"
            )


def refuse_lookups(data: Any, where: str) -> None:
    """Raise CheckpointError for a key, at any depth, with which transformers looks a model up on the hub."""
    for key, value in _pairs(data):
        if key in _FETCH or (key == "model_type" and str(value).startswith("timm_")):
            raise CheckpointError(
                f"{where} holds {key!r} ({value!r}), which looks a model up on the hub; write that model's own "
                "configuration in its place"
            )


def refuse_dangerous(data: Any, where: str) -> None:
    """Raise CheckpointError as `refuse_code` and `refuse_lookups`, and for quantized weights, which we do not read."""
    refuse_code(data, where)
    refuse_lookups(data, where)
    if any(key == "quantization_config" for key, _ in _pairs(data)):
        raise CheckpointError(
            f"{where} holds 'quantization_config': its weights are quantized, which vidweave does not read; take the "
            "folder with the original weights"
        )


def _pairs(data: Any) -> Iterator[tuple[str, Any]]:
    """Every key of nested data with its value; those that are switched off (None, False) are left out."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            if value is not None and value is not False:
                yield str(key), value
                yield from _pairs(value)
    elif isinstance(data, (list, tuple)):
        for item in data:
            yield from _pairs(item)


@cache
def known_keys(cls: type[PreTrainedConfig]) -> frozenset[str]:
    """Keys that a configuration class declares, writes itself, or reads for the sake of older files."""
    declared = {f.name for f in fields(cls)} | set(cls.attribute_map) | set(nested_classes(cls))
    return frozenset(declared | _written(cls) | _read(cls) | _UNDECLARED) - ABOUT_THE_FILE - _SETTINGS


def _written(cls: type[PreTrainedConfig]) -> set[str]:
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # defaults that transformers warns about (SigLIP's) are not those of any file
    try:
        return set(cls().to_dict())
    except (AttributeError, StrictDataclassError, TypeError, ValueError):  # no defaults; what it declares is known
        return set()
    finally:
        logging.set_verbosity(verbosity)


def _read(cls: type[PreTrainedConfig]) -> set[str]:
    """Keys that the class takes from `**kwargs`, where older files are understood: no other list of them exists."""
    result: set[str] = set()
    for base in cls.__mro__[: cls.__mro__.index(PreTrainedConfig)]:
        for name in _WHERE_KEYS_ARE_READ:
            code = getattr(unwrap(vars(base)[name]), "__code__", None) if name in vars(base) else None
            if code is not None:
                words = [*code.co_consts, *code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]]
                result |= {word for word in words if isinstance(word, str) and _KEY.fullmatch(word)}
    return result - _RUN_CODE - _FETCH - HARMLESS - {"self", "kwargs"}


def nested_classes(cls: type[PreTrainedConfig]) -> dict[str, Any]:
    """Key → class of each configuration inside one of `cls`; None where its own `model_type` decides."""
    inside: Any = cls.sub_configs
    return {
        key: inner if isinstance(inner, type) and issubclass(inner, PreTrainedConfig) else None
        for key, inner in inside.items()
    }


def nested_class(cls: type[PreTrainedConfig], key: str, data: Mapping[str, Any]) -> type[PreTrainedConfig] | None:
    """The class of the configuration `data` that stands at `key` of one of `cls`; None if transformers has none."""
    fixed = nested_classes(cls)[key]
    if fixed is not None:
        return fixed
    default = getattr(getattr(cls, "sub_configs_defaults", {}).get(key), "model_type", None)
    model_type = data.get("model_type", default)
    return CONFIG_MAPPING[model_type] if isinstance(model_type, str) and model_type in CONFIG_MAPPING else None
