"""Weights of the recorded RAFT: they come from a formula that the golden folder's README states, not from the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vidweave.nn.raft import RAFT_KEYS, Raft

_NUMBER = r"(-?\d+(?:\.\d+)?)"
_FORMULA = re.compile(rf"sin\(\(i\+1\)\*{_NUMBER}\s*\+\s*\(n\+1\)\*{_NUMBER}[^)]*\)\*{_NUMBER}")
_CHECK = re.compile(rf"`cnet\.conv1\.bias` starts {_NUMBER}, {_NUMBER}, {_NUMBER}")
MOST_SEEDS = 100_000

Phase = Callable[[np.ndarray, float], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Wave:
    """Pseudo-random numbers in [-1, 1): the fraction of a steep sine of the element's index i and the weight's number n."""

    step: float
    stride: float
    scale: float
    seed: float = 0
    form: int = 0

    def values(self, count: int, number: int, seed: np.ndarray | float | None = None) -> np.ndarray:
        """Elements 0..count-1 of weight `number`; an array of seeds (S, 1) gives (S, count)."""
        seed = self.seed if seed is None else seed
        i, n = np.arange(count, dtype=np.float64) + 1, number + 1
        # where a seed may enter: the phase, the weight's number, or the element's index
        phase = (
            i * self.step + n * self.stride + seed,
            i * self.step + (n + seed) * self.stride,
            (i + seed) * self.step + n * self.stride,
        )[self.form]
        wave = np.sin(phase) * self.scale
        return 2 * (wave - np.floor(wave)) - 1


def recorded_wave(folder: Path) -> Wave:
    """The formula of a golden folder: its README's numbers, and the seed that gives the three values it states."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    step, stride, scale = (float(number) for number in _FORMULA.search(text).groups())
    expected = np.array([float(number) for number in _CHECK.search(text).groups()])
    number = float_names(Raft()).index("cnet.conv1.bias")
    for wave in _candidates(step, stride, scale):
        seeds = np.arange(MOST_SEEDS, dtype=np.float64)[:, None]
        error = np.abs(0.05 * wave.values(len(expected), number, seeds) - expected).max(1)
        if error.min() < 1e-6:
            return Wave(step=step, stride=stride, scale=scale, seed=float(error.argmin()), form=wave.form)
    raise ValueError(f"no seed of the stated formula gives {expected}; see {folder / 'README.md'}")


def _candidates(step: float, stride: float, scale: float) -> Iterator[Wave]:
    return (Wave(step=step, stride=stride, scale=scale, form=form) for form in range(3))


def float_names(raft: Raft) -> list[str]:
    """The original's names of floating weights, aliases left out, in the order that numbers them."""
    return sorted(n for n, t in RAFT_KEYS.to_theirs(raft.state_dict()).items() if t.is_floating_point())


def published_state(raft: Raft, wave: Wave) -> dict[str, torch.Tensor]:
    """The state dict that the goldens were made with, under its original names, aliases included."""
    theirs = RAFT_KEYS.to_theirs(raft.state_dict())
    state = {name: _value(name, theirs[name].shape, wave, n) for n, name in enumerate(float_names(raft))}
    counters = {n: t for n, t in theirs.items() if not t.is_floating_point()}
    aliases = {n.replace(".norm3.", ".downsample.1."): t for n, t in (state | counters).items() if ".norm3." in n}
    return {f"module.{name}": tensor for name, tensor in (state | counters | aliases).items()}


def _value(name: str, shape: torch.Size, wave: Wave, number: int) -> torch.Tensor:
    noise = wave.values(int(np.prod(shape)), number)
    if len(shape) == 4:
        value = noise * 0.8 * np.sqrt(3 / np.prod(shape[1:]))
    elif name.endswith("running_var"):
        value = 1 + 0.2 * noise
    elif "norm" in name and name.endswith(".weight"):
        value = 1 + 0.1 * noise
    else:
        value = 0.05 * noise
    return torch.from_numpy(value.reshape(tuple(shape)).astype(np.float32))
