"""Size of a vision-language model, part by part, counted on the meta device: no weights are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoModelForImageTextToText

from vidweave.model.describe import SlotCost
from vidweave.model.files import read_model_type
from vidweave.pipelines.vlm.load import family_class, read_config

__all__ = ["describe_folder"]


def describe_folder(folder: Path, *, dtype: torch.dtype = torch.bfloat16) -> list[SlotCost]:
    """Parameters and bytes of vision tower, language model and what stands between; the note says how times reach it.

    Raises:
        CheckpointError: a configuration that is not one of a vision-language model.
    """
    model_type = read_model_type(folder)
    family = family_class(model_type, folder)
    config = read_config(folder)
    cls: Any = getattr(transformers, family.model_class) if family.model_class else AutoModelForImageTextToText
    with torch.device("meta"):
        model = cls.from_config(config) if cls is AutoModelForImageTextToText else cls(config)
    ways = {"text": "as text", "positions": "as positions", "none": "not at all"}
    notes = {"language_model": f"times reach it {ways[family.times]}; {family.num_frames} frames by default"}
    seen: set[int] = set()
    return [_cost(name, part, dtype, seen, notes.get(name, "")) for name, part in _parts(model)]


def _parts(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The model's direct parts, those of a model inside it in its place; those without parameters are left out."""
    inner = getattr(model, "model", None)
    result = dict(inner.named_children()) if isinstance(inner, nn.Module) else {}
    result |= {name: part for name, part in model.named_children() if part is not inner}
    return [(name, part) for name, part in result.items() if any(True for _ in part.parameters())]


def _cost(name: str, part: nn.Module, dtype: torch.dtype, seen: set[int], note: str) -> SlotCost:
    parameters = 0
    for parameter in part.parameters():  # tied weights count once
        parameters += 0 if id(parameter) in seen else parameter.numel()
        seen.add(id(parameter))
    return SlotCost(name, parameters, parameters * dtype.itemsize, None, note)
