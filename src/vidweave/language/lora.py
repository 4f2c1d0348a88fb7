"""LoRA (arXiv 2106.09685) as part of a language model's configuration, through PEFT."""

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
        alpha: Adapters are scaled by alpha / rank.
        dropout: Dropout of their inputs, in training.
        targets: Suffixes of the names of the adapted modules.
    """

    rank: int = 8
    alpha: float = 32
    dropout: float = 0.1
    targets: tuple[str, ...]


def attach_lora(model: nn.Module, spec: LoraSpec) -> None:
    """Add adapters to matrices of `model`, in place; they start at zero.

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
        if ".lora_" in name:  # transformers reinitializes linear layers of a fresh model; these stay at zero
            parameter._is_hf_initialized = True  # type: ignore[attr-defined]


def _peft() -> Any:
    try:
        return import_module("peft")
    except ImportError as error:
        raise MissingExtraError("peft", "train", "LoRA on a language model") from error
