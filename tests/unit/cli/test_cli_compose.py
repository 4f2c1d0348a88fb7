"""`vidweave compose` from two folders to a folder that can be asked."""

import json
import sys
from pathlib import Path

import pytest

from vidweave.cli.main import run as main

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
from hub_folders import write_language_model, write_tower


@pytest.mark.slow
def test_a_folder_is_composed_described_and_asked(tmp_path, capsys):
    write_tower(tmp_path / "clip", "clip")
    write_language_model(tmp_path / "llama", "llama")
    given = ["--encoder", str(tmp_path / "clip"), "--language-model", str(tmp_path / "llama")]
    out = str(tmp_path / "model")
    settings = ["--connector", "mlp", "--num-frames", "2", "--tokens-per-frame", "4", "--out", out, "--bases", "--json"]
    capsys.readouterr()
    assert main(["compose", *given, *settings]) == 0
    info = json.loads(capsys.readouterr().out)
    counts = {slot["slot"]: slot["trainable"] for slot in info["slots"]}
    assert counts["connector"] > 0
    assert counts["encoders"] == counts["language_model"] == 0
    assert set(info["bases"]) == {"encoders.clip", "language_model"}
    assert main(["models", "show", out, "--json"]) == 0
    slots = {slot["slot"]: slot for slot in json.loads(capsys.readouterr().out)["slots"]}
    assert slots["connector"]["note"] == "8 tokens to the language model"
    assert slots["connector"]["parameters"] == counts["connector"]
    assert main(["compose", *given, "--out", out]) == 2  # it is there already
