"""Seeded sampling for generation, independent of what other threads sample at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from vidweave.errors import ConfigError

__all__ = ["SeededDraws", "check_seed"]


def check_seed(seed: int) -> int:
    """Return `seed`; raise ConfigError if torch's generators do not accept it."""
    if not 0 <= seed < 2**64:
        raise ConfigError(f"seed must be between 0 and 2**64 - 1, got {seed}; choose a smaller one")
    return seed


class SeededDraws(TorchFunctionMode):
    """Context in which this thread's `torch.multinomial` draws from its own generators.

    transformers' sampling accepts no generator and draws from torch's global one, which all threads share. This
    provides one: the numbers are those of the global generator after `torch.manual_seed(seed)`, but the global state
    does not change.

    Args:
        seed: One seed for the whole batch, or one per row, which then draws the same numbers as it would alone.
    """

    def __init__(self, seed: int | Sequence[int], device: torch.device) -> None:
        super().__init__()
        seeds = [seed] if isinstance(seed, int) else list(seed)
        self.generators = [torch.Generator(device).manual_seed(check_seed(value)) for value in seeds]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.multinomial, torch.Tensor.multinomial):
            if len(self.generators) > 1:
                rows = args[0].split(1)
                drawn = [
                    func(row, *args[1:], **{"generator": generator, **kwargs})
                    for row, generator in zip(rows, self.generators, strict=True)
                ]
                return torch.cat(drawn)
            kwargs.setdefault("generator", self.generators[0])
        return func(*args, **kwargs)
