"""Assets: weights in half precision, and which recipe, run and commit made them."""

import json
import subprocess

import torch
from safetensors.torch import load_file

import vidweave
from vidweave.tiny.asset_files import write_facts, write_language_model, write_weights


def written(tmp_path, recipe):
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "run" / "run.json").write_text('{"hash": "0123"}')
    write_facts(tmp_path / "asset" / "asset.json", recipe, tmp_path / "run", {"seed": 1})
    return json.loads((tmp_path / "asset" / "asset.json").read_text())


def test_recipe_run_and_facts(tmp_path):
    recipe = tmp_path / "recipes" / "tiny" / "base.py"
    recipe.parent.mkdir(parents=True)
    assert written(tmp_path, recipe) == {
        "recipe": "recipes/tiny/base.py",
        "run": "0123",
        "commit": "unknown",
        "seed": 1,
    }


def test_the_commit_is_that_of_the_recipe(tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert written(tmp_path, str(tmp_path / "made.py"))["commit"] == head


def test_a_machine_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert written(tmp_path, tmp_path / "made.py")["commit"] == "unknown"


def test_weights_are_kept_in_half_precision(tmp_path):
    file = tmp_path / "new" / "model.safetensors"
    write_weights(file, {"a": torch.nn.Parameter(torch.arange(6.0).reshape(2, 3).T)})
    (kept,) = load_file(file).values()
    assert kept.dtype == torch.float16
    assert torch.equal(kept.float(), torch.arange(6.0).reshape(2, 3).T)


def test_a_language_model_is_kept_without_tied_twins(tmp_path):
    base = vidweave.load("tiny-base").model
    language = base.language_model
    write_language_model(tmp_path, language, base.processor.tokenizers["language"])
    tied = {f"model.{name}" for name in language.model.all_tied_weights_keys}
    assert load_file(tmp_path / "model.safetensors").keys() == language.state_dict().keys() - tied
    assert {"config.json", "tokenizer.json"} <= {file.name for file in tmp_path.iterdir()}
