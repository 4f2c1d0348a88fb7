"""Fixtures of the model tests: every test runs on both language families."""

import numpy as np
import pytest
from tiny_models import tiny_config, with_processor

from vidweave.model.assembly import VideoLanguageModel
from vidweave.types import Frames


@pytest.fixture(params=["causal", "seq2seq"])
def family(request) -> str:
    return request.param


@pytest.fixture
def model(family) -> VideoLanguageModel:
    return with_processor(tiny_config(family))


@pytest.fixture
def frames() -> Frames:
    rng = np.random.default_rng(0)
    return Frames.from_array(rng.integers(0, 256, (7, 20, 24, 3), dtype=np.uint8), fps=5)
