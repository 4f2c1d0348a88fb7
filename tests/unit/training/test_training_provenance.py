"""asset.json says which recipe, run and commit made an asset."""

import json
import subprocess

from vidweave.training.provenance import write_facts


def written(tmp_path, recipe):
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "run" / "run.json").write_text('{"hash": "0123"}')
    write_facts(tmp_path / "asset", recipe, tmp_path / "run", {"seed": 1})
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
