"""Parts of a model that stay in float32 where the rest is loaded in half precision.

A module declares this with `float32_instead_of`, the dtypes that it is not loaded in; models of transformers with lists of their
own. Loading and converting respect them: `model.half()` casts everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import torch
from torch import nn
from transformers import PreTrainedModel

from vidweave.types import KeptInFloat32

__all__ = ["float32_patterns", "kept_in_float32"]


def float32_patterns(model: nn.Module, dtype: torch.dtype) -> set[str]:
    """Patterns for transformers' loader: names of weights below `model` that stay in float32 instead of `dtype`."""
    return {pattern for name, module in model.named_modules() if name for pattern in _patterns(name, module, dtype)}


def _patterns(name: str, module: nn.Module, dtype: torch.dtype) -> Iterator[str]:
    root = "^" + re.escape(name)
    if isinstance(module, KeptInFloat32) and dtype in module.float32_instead_of:
        yield rf"{root}\."
    if isinstance(module, PreTrainedModel):
        always, only = module._keep_in_fp32_modules_strict, module._keep_in_fp32_modules
        for kept in {*(always or ()), *((only or ()) if dtype == torch.float16 else ())}:
            # The loader reads `*` as "anything" and quantizers as plain regular expressions: a pattern without one
            yield rf"{root}\.(?:[\w.]+\.)?{kept}\."


def kept_in_float32(model: PreTrainedModel, names: Iterable[str], dtype: torch.dtype | None) -> set[str]:
    """Of `names`, the weights of `model` that transformers' loader leaves in float32 when the rest becomes `dtype`."""
    result: set[str] = set()
    if dtype in (torch.float16, torch.bfloat16):
        result |= set(model._keep_in_fp32_modules_strict or ())
    if dtype == torch.float16:
        result |= set(model._keep_in_fp32_modules or ())
    if not result:
        return set()
    kept = re.compile("|".join(pattern.replace("*", ".*") for pattern in sorted(result)))
    return {name for name in names if kept.search(name)}
