"""LoRA (arXiv 2106.09685) as a part of a language model's configuration: matrices with adapters of PEFT beside them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch import nn

from vidweave.errors import MissingExtraError

__all__ = ["LoraSpec", "attach_lora"]


@dataclass(frozen=True, kw_only=True)
class LoraSpec:
    """Adapters on a language model.

    Attributes:
        rank: Width of the adapters.
        alpha: They are scaled by alpha / rank.
        dropout: Of their inputs, in training.
        targets: Ends of the names of the modules that have one.
    """

    rank: int = 8
    alpha: float = 32
    dropout: float = 0.1
    targets: tuple[str, ...]


def attach_lora(model: nn.Module, spec: LoraSpec) -> None:
    """Put adapters beside matrices of `model`, in place; they start at zero.

    Raises:
        MissingExtraError: PEFT is not installed.
    """
    peft = _peft()
    config = peft.LoraConfig(
        r=spec.rank, lora_alpha=spec.alpha, lora_dropout=spec.dropout, target_modules=list(spec.targets)
    )
    peft.inject_adapter_in_model(config, model)
    model.train(model.training)  # the new dropouts too
    for name, parameter in model.named_parameters():
        if ".lora_" in name:  # transformers starts linear layers of a fresh model anew; these stay at zero
            parameter._is_hf_initialized = True  # type: ignore[attr-defined]


def _peft() -> Any:
    try:
        return import_module("peft")
    except ImportError as error:
        raise MissingExtraError("peft", "train", "LoRA on a language model") from error
