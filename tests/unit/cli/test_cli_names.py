"""Names that are wrong are refused before torch is imported, which takes seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

HARNESS = """
import contextlib, io, json, sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "transformers"):
            raise SystemExit(f"{name} was imported")

sys.meta_path.insert(0, NoTorch())
from vidweave.cli.main import run

for arguments in json.load(sys.stdin):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = run(arguments)
    print(json.dumps([code, said.getvalue()]))
"""
ASK = ["ask", "clip.mp4", "What?"]
WRONG = {
    "unknown model 'tiny-bas'; did you mean 'tiny-base'": [
        [*ASK, "--model", "tiny-bas"],
        ["explain", "clip.mp4", "What?", "--model", "tiny-bas"],
        ["stream", "clip.mp4", "What?", "--model", "tiny-bas"],
        ["select", "clip.mp4", "What?", "--model", "tiny-bas"],
        ["evaluate", "--model", "tiny-bas"],
        ["pseudo-label", "world", "--out", "x.jsonl", "--model", "tiny-bas"],
        ["extract", "pointfeatures", "scene", "--out", "x", "--model", "tiny-bas"],
        ["models", "show", "tiny-bas"],
        ["contra4", "evaluate", "--split", "val.json", "--model", "tiny-bas"],
        ["contra4", "evaluate", "--split", "val.json", "--model", "tiny-bas", "--mode", "apart"],
    ],
    "'merv-frozen' is a configuration without published weights": [[*ASK, "--model", "merv-frozen"]],
    "has no readable config.json": [[*ASK, "--model", "."]],
    "is not a folder with a model": [[*ASK, "--model", "./nowhere"], [*ASK, "--model", "/nowhere/at/all"]],
    "unknown device 'gpu'; torch calls it 'cuda'": [
        [*ASK, "--device", "gpu"],
        ["explain", "clip.mp4", "What?", "--device", "gpu"],
        ["stream", "clip.mp4", "What?", "--device", "gpu"],
        ["select", "clip.mp4", "What?", "--device", "gpu"],
        ["evaluate", "--device", "gpu"],
        ["pseudo-label", "world", "--out", "x.jsonl", "--device", "gpu"],
        ["contra4", "evaluate", "--split", "val.json", "--device", "gpu"],
        *(["extract", what, "clip.mp4", "--out", "x", "--device", "gpu"] for what in ("depth", "normals", "flow")),
        ["extract", "pointfeatures", "scene", "--out", "x", "--device", "gpu"],
    ],
    "unknown dtype 'float61'; did you mean 'float": [
        [*ASK, "--dtype", "float61"],
        ["explain", "clip.mp4", "What?", "--dtype", "float61"],
        ["stream", "clip.mp4", "What?", "--dtype", "float61"],
        ["evaluate", "--dtype", "float61"],
        ["pseudo-label", "world", "--out", "x.jsonl", "--dtype", "float61"],
        ["contra4", "evaluate", "--split", "val.json", "--dtype", "float61"],
        ["models", "show", "tiny-base", "--dtype", "float61"],
    ],
    "unknown task 'toyword'; did you mean 'toyworld'": [["evaluate", "--task", "toyword"]],
    "unknown selector 'uniforn'; did you mean 'uniform'": [["select", "clip.mp4", "What?", "--selector", "uniforn"]],
    "there is no recipe file none.py": [["train", "none.py"], ["contra4", "generate", "none.py"]],
    "unknown recipe 'merv/frosen'; did you mean 'merv/frozen'": [["train", "merv/frosen"]],
    "unknown recipe 'contra4/toys'; did you mean 'contra4/toy'": [["contra4", "generate", "contra4/toys"]],
    "contra4/toy is a recipe of another command; run: vidweave contra4 generate contra4/toy": [
        ["train", "contra4/toy"]
    ],
    "RECIPE is missing; give a name (--list prints them)": [["train"], ["contra4", "generate", "--json"]],
    "recipe.txt is not a Python file": [["train", "recipe.txt"]],
    "unknown accelerator 'gpu'": [["train", "recipe.py", "--accelerator", "gpu"]],
    "unknown checkpoint layout 'mervs'; did you mean 'merv'": [["convert", "mervs", "a.pt", "--out", "x"]],
    "Invalid value for '--seed'": [
        ["toyworld", "make", "--out", "x", "--seed", str(2**70)],
        ["evaluate", "--seed", str(2**70)],
    ],
    "got one option, 'red, dark blue'; repeat --option for each: --option red --option 'dark blue'": [
        [*ASK, "--option", "red, dark blue"]
    ],
    "'1:75:00' is not a time; write it like 90, 5s": [[*ASK, "--start", "1:75:00"]],
}


@pytest.fixture(scope="module")
def replies(tmp_path_factory) -> dict[str, tuple[int, str]]:
    """Command line → exit code and stderr, all from one process that may not import torch."""
    folder = tmp_path_factory.mktemp("empty")
    (folder / "recipe.txt").write_text("")
    (folder / "recipe.py").write_text("")
    lines = [arguments for commands in WRONG.values() for arguments in commands]
    done = subprocess.run(
        [sys.executable, "-c", HARNESS],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=folder,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    return {
        " ".join(words): tuple(json.loads(line)) for words, line in zip(lines, done.stdout.splitlines(), strict=True)
    }


@pytest.mark.parametrize("complaint", WRONG)
def test_a_wrong_name_costs_no_torch(replies, complaint):
    for arguments in WRONG[complaint]:
        code, reply = replies[" ".join(arguments)]
        assert complaint in reply, arguments
        assert reply.startswith("error: "), arguments
        assert (code, reply.count("\n")) == (2, 1), arguments
