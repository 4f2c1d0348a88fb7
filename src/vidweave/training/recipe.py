"""Training recipes: ``recipe(**overrides) -> Run``."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vidweave.errors import ConfigError
from vidweave.training.stages import Run
from vidweave.types.overrides import override
from vidweave.types.recipe import load_recipe, read_recipe

__all__ = ["load_recipe", "override", "recipe_run"]

MAX_SEED = 2**32


def recipe_run(path: str | Path, overrides: Sequence[str] = ()) -> Run:
    """Build the run of a recipe, with ``key=value`` overrides of its settings (nested: ``optimizer.lr=1e-4``).

    The generators of Python, numpy and torch are seeded with `Settings.seed` (0 without one) before the recipe creates
    its model, so that it is the same model each time.

    Raises:
        ConfigError: no such file, no recipe in it, or a value of the wrong type.
        UnknownNameError: an override that `Settings` does not have; lists near matches.
    """
    recipe, settings = read_recipe(path, overrides)
    _seed(int(settings.get("seed", 0)))
    run = recipe(**settings)
    if not isinstance(run, Run):
        raise ConfigError(f"recipe() in {path} must return a vidweave.training.Run, got {type(run).__name__}")
    return run


def _seed(seed: int) -> None:
    if not 0 <= seed < MAX_SEED:
        raise ConfigError(f"seed must be between 0 and 2**32 - 1, which numpy takes; got {seed}")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
