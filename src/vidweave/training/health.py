"""Checks before a step: weights too coarse to train, and losses or gradients that are not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from vidweave.errors import TrainingError

__all__ = ["check_finite", "check_trainable_dtypes"]

_FULL = (torch.float32, torch.float64)
_SHOWN = 8


def check_trainable_dtypes(parameters: Mapping[str, nn.Parameter], stage: str) -> None:
    """Reject trainable parameters in half precision: AdamW's steps are smaller than their rounding.

    Raises:
        TrainingError: gives their number, the first, and the advice.
    """
    coarse = {name: p.dtype for name, p in parameters.items() if p.dtype not in _FULL}
    if coarse:
        name, dtype = next(iter(coarse.items()))
        short = str(dtype).removeprefix("torch.")
        raise TrainingError(
            f"stage {stage!r} trains {len(coarse)} parameters in {short} (e.g. {name}), whose rounding is coarser than "
            "the optimizer's steps; load the model with dtype='float32' (or call model.float()), and set "
            "precision='bf16-mixed' to compute in bfloat16"
        )


def check_finite(
    row: Mapping[str, float], losses: Sequence[float], examples: Sequence[Sequence[int]], *, precision: str, where: str
) -> None:
    """Raise TrainingError on a loss or gradient that is not finite.

    Args:
        row: `loss` and `grad_norm` of the step, averaged over all processes.
        losses: Losses of this process's micro-batches.
        examples: Their examples.
        precision: Precision in which the loss was computed.
        where: Name of the pass, for the message.

    Raises:
        TrainingError: names the value that is not finite, the examples and the precision.
    """
    bad = [f"{key} is {row[key]}" for key in ("loss", "grad_norm") if not math.isfinite(row[key])]
    if not bad:
        return
    broken = [part for part, loss in zip(examples, losses, strict=True) if not math.isfinite(loss)] or examples
    indices = [index for part in broken for index in part]
    shown = ", ".join(map(str, indices[:_SHOWN])) + (", …" if len(indices) > _SHOWN else "")
    raise TrainingError(
        f"{', '.join(bad)} on examples {shown} in {precision} (check these examples, or lower lr or clip_norm) in {where}"
    )
