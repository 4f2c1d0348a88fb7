"""The shipped model with three encoders, through the command line: texture, speed, and what a general encoder sees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

CLIP = Path(__file__).parents[2] / "examples" / "clips" / "toy.mp4"
# a plain red circle that moves slowly, a checked blue triangle that stands still, a green square that appears


@pytest.mark.parametrize(
    ("question", "options", "answer"),
    [
        ("What pattern has the triangle?", ("plain", "striped", "dotted", "checked"), "checked"),
        ("Which pattern is on the red circle?", ("plain", "striped", "dotted", "checked"), "plain"),
        ("Does the circle move slow or fast?", ("slow", "fast"), "slow"),
        ("What colour is the square?", ("red", "green", "blue", "white"), "green"),
    ],
)
def test_each_encoder_has_its_weight(call, question, options, answer):
    chosen = [word for option in options for word in ("--option", option)]
    data = json.loads(call("ask", CLIP, question, *chosen, "--model", "tiny-merv", "--json"))
    assert data["text"] == answer
    assert data["trace"]["tokens"]["video"] == 16  # of three encoders together
    (weights,) = data["trace"]["panels"]["encoder_weights"]
    assert weights["weights"].keys() == {"general", "detail", "tempo"}
    assert sum(weights["weights"].values()) == pytest.approx(1)


def test_explains_which_encoder_counted(call, tmp_path):
    out = tmp_path / "merv.html"
    call("explain", CLIP, "What pattern has the triangle?", "--model", "tiny-merv", "--out", out)
    assert "Which encoder counted, and where" in out.read_text(encoding="utf-8")
    assert (tmp_path / "merv.png").stat().st_size > 20_000
