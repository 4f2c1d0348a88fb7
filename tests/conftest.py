"""What every test stands on: one thread, fixed seeds, no network, nothing of the user's own settings."""

from __future__ import annotations

import gc
import os
import random
import sys
from pathlib import Path

import pytest

# Set before anything imports torch or transformers; subprocesses inherit them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.pop("VIDWEAVE_CACHE", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give long tests ten minutes, unless they name a time themselves: a busy machine is no fault."""
    for item in items:
        is_long = any(item.get_closest_marker(name) is not None for name in ("slow", "real"))
        if is_long and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(600))


def pytest_collection_finish() -> None:
    """Take what collecting made (5,000 tests, torch, transformers) out of the garbage collector's sight.

    It lives until the end; every full collection during a test, which training asks for after each stage, would walk it.
    """
    _freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Do the same with what the tests of a module imported, after their fixtures are gone."""
    if nextitem is not None and nextitem.path != item.path:
        _freeze()


def _freeze() -> None:
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    """Every test starts from the same random numbers; torch is only touched where a test loaded it."""
    random.seed(0)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(0)
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(0)
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Recorded outputs that tests compare with; VIDWEAVE_GOLDEN_DIR names another folder."""
    return Path(os.environ.get("VIDWEAVE_GOLDEN_DIR", Path(__file__).parent / "golden"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).parents[1]
