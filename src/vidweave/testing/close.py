"""Comparing tensors in checks."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["expect_close", "expect_finite", "expect_shape"]


def expect_close(got: Tensor, expected: Tensor, what: str) -> None:
    """Equal to float32 rounding (kernels may sum in another order for another batch)."""
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5, msg=lambda detail: f"{what}: {detail}")


def expect_finite(values: Tensor, what: str) -> None:
    assert bool(torch.isfinite(values).all()), f"{what} must be finite"


def expect_shape(values: Tensor, shape: tuple[int, ...], what: str) -> None:
    assert tuple(values.shape) == shape, f"{what} must be {shape}, got {tuple(values.shape)}"
