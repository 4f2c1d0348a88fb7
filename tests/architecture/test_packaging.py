"""What the project declares about itself, and the traps that a dependency could bring."""

from __future__ import annotations

import ast
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def test_the_torch_range_is_the_tested_one():
    assert "torch>=2.11,<2.14" in PROJECT["dependencies"]
    assert PROJECT["requires-python"] == ">=3.11"


def test_versions_with_known_holes_are_excluded():
    """transformers before 5.3 ran code named in config.json, PyAV before 17.1 has a parser that corrupts memory."""
    lowest = {dependency.split(",")[0] for dependency in PROJECT["dependencies"]}
    assert {"transformers>=5.3", "av>=17.1"} <= lowest


def test_nothing_declares_torchvision():
    declared = [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]
    assert not [line for line in declared if line.startswith(("torchvision", "timm", "torchaudio"))]


def test_no_dependency_brought_torchvision():
    """One that does not load breaks every model of transformers; the CPU builds of torch come without."""
    import torch

    if torch.version.cuda is not None:
        pytest.skip("a CUDA build of torch may have a torchvision that loads")
    assert find_spec("torchvision") is None


def test_errors_name_extras_that_exist():
    named = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "MissingExtraError":
                extra = node.args[1]
                assert isinstance(extra, ast.Constant), f"{path.name}:{node.lineno} names its extra by a variable"
                named.add(extra.value)
    assert named <= set(EXTRAS)


def test_the_package_is_typed_and_licensed():
    assert (ROOT / "src" / "vidweave" / "py.typed").exists()
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
