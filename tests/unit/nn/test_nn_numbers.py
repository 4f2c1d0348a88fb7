"""Finite numbers between stages, and the dtype in which a module computes."""

import pytest
import torch
from torch import nn

from vidweave.errors import NonFiniteError
from vidweave.nn.numbers import floating_dtype, require_finite


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("dtype", "advice"), [
    (torch.float32, r"1 of 42 float32 numbers\); check the model's weights$"),
    (torch.bfloat16, r"1 of 42 bfloat16 numbers\); check the model's weights, or load it with dtype float32$"),
    (torch.float16, r"1 of 42 float16 numbers\); .* with dtype bfloat16 or float32$"),
])  # fmt: skip
def test_the_stage_the_part_and_the_dtype_are_named(bad, dtype, advice):
    values = torch.zeros(2, 3, 7, dtype=dtype)
    values[1, 2, 4] = bad
    fine = torch.ones(5, dtype=dtype)
    with pytest.raises(NonFiniteError, match=r"^features of 'rgb' hold NaN or infinity \(" + advice):
        require_finite("features of {part!r}", {"sound": (fine, None), "rgb": (values, None)})


def test_only_finite_parts_are_checked():
    values = torch.zeros(2, 3, 7)
    values[1, 2] = torch.nan
    mask = torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(NonFiniteError, match="7 of 42"):
        require_finite("numbers", {"": (values, mask)})
    mask[1, 2] = False
    require_finite("numbers", {"": (values, mask)})
    require_finite("numbers", {})
    require_finite("numbers", {"": (torch.empty(3, device="meta"), None)})
    require_finite("numbers", {"": (torch.tensor([3, 4]), None), "empty": (torch.zeros(0, 2), None)})


def test_the_dtype_is_that_of_the_first_floating_parameter():
    packed = nn.Linear(2, 2)
    packed.weight = nn.Parameter(torch.zeros(4, dtype=torch.uint8), requires_grad=False)
    packed.bias = nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))
    assert next(packed.parameters()).dtype == torch.uint8
    assert floating_dtype(packed, torch.float64) == torch.bfloat16
    assert floating_dtype(nn.Identity(), torch.float64) == torch.float64
