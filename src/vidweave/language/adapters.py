"""LoRA (arXiv 2106.09685) added to a wrapped language model and merged into it, through PEFT (extra `train`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

from vidweave.errors import ConfigError
from vidweave.language.lora import LoraSpec, attach_lora
from vidweave.language.pretrained import PretrainedLanguageModel

__all__ = ["add_lora", "merge_lora"]

# Query and value matrices (PEFT's own choice), by their names in the model families of transformers
TARGETS = (("q_proj", "v_proj"), ("q", "v"), ("query_key_value",), ("qkv_proj",))


def add_lora(
    language_model: PretrainedLanguageModel,
    *,
    rank: int = 8,
    alpha: float = 32,
    dropout: float = 0.1,
    targets: Sequence[str] = (),
) -> list[str]:
    """Add adapters to matrices of the model, in place; they start at zero, so outputs do not change yet.

    They are part of the model's configuration, so a saved model has them again when it is loaded.

    Args:
        targets: Suffixes of module names; empty means the query and value matrices.

    Returns:
        Names of the new parameters, relative to `language_model`.

    Raises:
        MissingExtraError: PEFT is not installed.
        ConfigError: no targets and no matrix with a known name, or a model that already has adapters.
    """
    if language_model.config.lora is not None:
        raise ConfigError("the language model has LoRA adapters already; train those, or merge_lora them first")
    chosen = tuple(targets) or _default_targets(language_model)
    spec = LoraSpec(rank=rank, alpha=alpha, dropout=dropout, targets=chosen)
    before = {name for name, _ in language_model.named_parameters()}
    attach_lora(language_model.model, spec)
    language_model.config = replace(language_model.config, lora=spec)
    return [name for name, _ in language_model.named_parameters() if name not in before and ".lora_" in name]


def _default_targets(language_model: PretrainedLanguageModel) -> tuple[str, ...]:
    ends = {name.rpartition(".")[2] for name, _ in language_model.model.named_modules()}
    for names in TARGETS:
        if ends.issuperset(names):
            return names
    family = language_model.model.config.model_type
    raise ConfigError(f"which matrices of a {family!r} model get adapters? Give targets, e.g. ('q_proj', 'v_proj')")


def merge_lora(language_model: PretrainedLanguageModel) -> int:
    """Merge all adapters into their matrices, in place; the model gets its plain parameter names back.

    Returns:
        Number of merged matrices.
    """
    layer_class = import_module("peft.tuners.tuners_utils").BaseTunerLayer if _has_adapters(language_model) else ()
    result = [(name, module) for name, module in language_model.named_modules() if isinstance(module, layer_class)]
    for name, module in result:
        layer: Any = module
        layer.merge()
        parent, _, child = name.rpartition(".")
        setattr(language_model.get_submodule(parent), child, layer.get_base_layer())
    language_model.config = replace(language_model.config, lora=None)
    return len(result)


def _has_adapters(language_model: PretrainedLanguageModel) -> bool:
    return any(".lora_" in name for name, _ in language_model.named_parameters())
