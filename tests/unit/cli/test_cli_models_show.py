"""`vidweave models show` over every registered name."""

import json

import pytest

from vidweave.registry import MODELS


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_registered_model_is_shown(vid, name):
    done = vid("models", "show", name, "--json")
    assert done.code == 0, done.err
    assert {"connector", "language_model", "selector"} <= {row["slot"] for row in done.data["slots"]}
    assert done.data["total"]["flops"] > 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"model_type": "llama"}, "holds a 'llama' model; vidweave reads folders of: vidweave, blip-2"),
        (
            {"model_type": "blip-2", "text_config": {}, "qformer_config": {}}
            | {"vision_config": {"_attn_implementation": "owner/kernel"}},
            "holds '_attn_implementation', which can run code from elsewhere",
        ),
    ],
)
def test_a_folder_is_guarded_before_it_is_shown(vid, tmp_path, data, message):
    (tmp_path / "config.json").write_text(json.dumps(data))
    done = vid("models", "show", str(tmp_path))
    assert done.code != 0
    assert message in " ".join(done.err.split())


def test_a_folder_of_transformers_is_shown(vid, tmp_path):
    """A config.json of differences alone: transformers' defaults are part of it."""
    parts = {"text_config": {"model_type": "opt"}, "qformer_config": {}, "vision_config": {"num_hidden_layers": 2}}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "blip-2", **parts}))
    done = vid("models", "show", str(tmp_path), "--json")
    assert done.code == 0, done.err
    assert {row["slot"] for row in done.data["slots"]} >= {"encoders.vision", "connector", "language_model"}


@pytest.mark.slow
def test_what_fits_on_a_card_is_estimated_per_precision(vid):
    done = vid("models", "show", "blip2-flan-t5-xl", "--card", "12GB")
    assert "float32: about 19.6 GB of 12.0 GB, does not fit" in done.out
    assert "bfloat16: about 10.2 GB of 12.0 GB, fits" in done.out
    assert "estimated: weights" in done.out
    data = vid("models", "show", "blip2-flan-t5-xl", "--card", "12GB", "--json").data
    needed = [row["needed_bytes"] for row in data["card"]["estimates"]]
    assert needed == sorted(needed, reverse=True)
    total = data["total"]["parameters"]
    assert needed[1] == int(2 * total * 1.2 + 0.7e9)
    wrong = vid("models", "show", "blip2-flan-t5-xl", "--card", "big")
    assert (wrong.code, "'big' is not a size" in wrong.err) == (2, True)
