"""The gradient of a step does not depend on how many processes and micro-batches share it."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

_CHILD = Path(__file__).with_name("gradient_child.py")


def _step(out: Path, devices: int, accumulate: int) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """AdamW's first timestamps after one step, a tenth of the gradient, and the row that was logged."""
    command = [sys.executable, "-W", "error", str(_CHILD), str(out), str(devices), str(accumulate)]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    moments = load_file(out / "checkpoints" / "001-000000000" / "optimizer.safetensors")
    with (out / "logs" / "one.csv").open() as file:
        (row,) = csv.DictReader(file)
    return {n: t for n, t in moments.items() if n.endswith(":exp_avg")}, {
        n: float(row[n]) for n in ("loss", "grad_norm")
    }


def test_two_processes_have_the_gradient_of_one(tmp_path):
    whole, row = _step(tmp_path / "one", 1, 1)
    assert set(whole) == {"weight:exp_avg", "bias:exp_avg"}
    for devices, accumulate in ((2, 1), (2, 3)):
        moments, logged = _step(tmp_path / f"{devices}-{accumulate}", devices, accumulate)
        assert logged == pytest.approx(row, abs=1e-6)
        for name, moment in whole.items():
            torch.testing.assert_close(moments[name], moment, rtol=1e-6, atol=1e-7)
