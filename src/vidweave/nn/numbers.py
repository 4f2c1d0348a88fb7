"""Numeric checks between stages: finite values, and the dtype in which a module computes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vidweave.errors import NonFiniteError

__all__ = ["Checked", "floating_dtype", "is_finite", "not_finite", "require_finite"]

Checked = tuple[Tensor, Tensor | None]
"""Values, and a mask over their leading axes that is True where they are used (None: everywhere)."""

HALF = {torch.float16: "bfloat16 or float32", torch.bfloat16: "float32"}


def floating_dtype(module: nn.Module, default: torch.dtype) -> torch.dtype:
    """Dtype of the first floating-point parameter of `module`, skipping integers (packed weights)."""
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), default)


def is_finite(tensor: Tensor) -> bool:
    """Return whether all values are finite, without a second tensor of that size: NaN and infinity reach an extreme."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    return bool(torch.isfinite(torch.stack(tensor.aminmax())).all())


def require_finite(stage: str, parts: Mapping[str, Checked]) -> None:
    """Raise unless all `parts` of a stage's output are finite, with a single device sync.

    Args:
        stage: Name of the stage for the message; {part} is replaced by the name of the part.

    Raises:
        NonFiniteError: NaN or infinity where the mask is True; names the stage, the part and the dtype.
    """
    are_finite = {name: _is_finite(*part) for name, part in parts.items() if not part[0].is_meta}
    if not are_finite or bool(torch.stack(list(are_finite.values())).all()):
        return
    name = next(name for name, fine in are_finite.items() if not bool(fine))
    raise not_finite(stage.format(part=name), *parts[name])


def not_finite(what: str, values: Tensor, mask: Tensor | None = None) -> NonFiniteError:
    """Build the error for NaN or infinite `values`, with their number, dtype and advice."""
    bad = ~torch.isfinite(values)
    if mask is not None:
        bad &= _over(mask, values)
    wider = HALF.get(values.dtype)
    advice = "check the model's weights" + (f", or load it with dtype {wider}" if wider else "")
    dtype = str(values.dtype).removeprefix("torch.")
    return NonFiniteError(f"{what} hold NaN or infinity ({int(bad.sum())} of {bad.numel()} {dtype} numbers); {advice}")


def _is_finite(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return a boolean scalar on the values' device."""
    finite = torch.isfinite(values)
    return (finite if mask is None else finite | ~_over(mask, values)).all()


def _over(mask: Tensor, values: Tensor) -> Tensor:
    return mask.reshape(*mask.shape, *(1,) * (values.ndim - mask.ndim))
