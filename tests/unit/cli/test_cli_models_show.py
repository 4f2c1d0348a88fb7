"""`vidweave models show` over every registered name."""

import pytest

from vidweave.registry import MODELS


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_registered_model_is_shown(vid, name):
    done = vid("models", "show", name, "--json")
    assert done.code == 0, done.err
    assert {"connector", "language_model", "selector"} <= {row["slot"] for row in done.data["slots"]}
    assert done.data["total"]["flops"] > 0
