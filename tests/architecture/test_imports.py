"""Imports point one way, and the doors stay light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from import_rules import MAY_IMPORT, SLOTS, ZERO, violations

SOURCE = Path(__file__).parents[2] / "src" / "vidweave"


def _tree(tmp_path: Path, **files: str) -> Path:
    root = tmp_path / "vidweave"
    for name, text in files.items():
        path = root / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_imports_point_one_way():
    assert violations(SOURCE) == []


def test_every_package_is_in_the_table():
    rooms = {p.stem for p in SOURCE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert rooms - set(MAY_IMPORT) <= {"__init__", "__main__", "cli", "recipes", "serving"}


def test_slots_know_neither_each_other_nor_media():
    for slot in SLOTS:
        assert MAY_IMPORT[slot] == ZERO | {"nn"}


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"media__a": "from vidweave.nn.b import c"}, "media may not import nn"),
        ({"encoders__a": "def f():\n    import vidweave.media.open"}, "encoders may not import media"),
        ({"language__a": "from vidweave import connectors"}, "language may not import connectors"),
        ({"model__load": "from importlib import import_module\nimport_module('vidweave.systems.x')"}, "model may not"),
        (
            {"training__a": "if TYPE_CHECKING:\n    from vidweave.model.assembly import M"},
            "training may not import model",
        ),
        ({"systems__a__p": "from vidweave.systems.b import q"}, "no system imports another"),
        ({"media__a": "from vidweave import load"}, "media may not import load"),
        ({"types__a": "def f():\n    import torch"}, "level 0 imports no torch"),
        ({"data__a": "from benchmarks import claims"}, "beside the package"),
        ({"training__a": "from vidweave.recipes.tiny import base"}, "training may not import recipes"),
        ({"gadgets__a": "from vidweave.errors import X"}, "knows no room 'gadgets'"),
        (
            {"media__a": "from vidweave.media.b import x", "media__b": "def f():\n    from vidweave.media import a"},
            "cycle",
        ),
        (
            {"nn__a": "if TYPE_CHECKING:\n    from vidweave.nn.b import x", "nn__b": "from vidweave.nn.a import y"},
            "cycle: vidweave.nn.a -> vidweave.nn.b -> vidweave.nn.a",
        ),
        ({"media__a": "from ..nn import lora", "nn__lora": ""}, "media may not import nn"),
    ],
)
def test_the_check_can_fail(tmp_path, files, complaint):
    result = violations(_tree(tmp_path, **files))
    assert len(result) == 1
    assert complaint in result[0]


def test_every_cycle_is_named(tmp_path):
    text = "from vidweave.nn.{0} import x\nif TYPE_CHECKING:\n    from vidweave.nn.{1} import y"
    names = {"a": "bd", "b": "ca", "c": "ba", "d": "ad"}  # a <-> b, b <-> c (c -> a closes a third), a <-> d
    result = violations(_tree(tmp_path, **{f"nn__{name}": text.format(*others) for name, others in names.items()}))
    assert len(result) >= 3
    assert all(line.startswith("cycle: ") for line in result)


def test_what_the_design_allows_passes(tmp_path):
    files = {
        "model__a": "from vidweave.language.x import y\nfrom vidweave.media.open import z",
        "cli__main": "def f():\n    from vidweave.systems.crema import p",
        "systems__crema__p": "from vidweave import __version__\nfrom vidweave.model.a import b",
        "types__a": "if TYPE_CHECKING:\n    import torch\n    from vidweave.types.b import c",
        "types__b": "from vidweave.types.c import d",
        "types__c": "",
    }
    assert violations(_tree(tmp_path, **files)) == []


def _modules_after(code: str) -> set[str]:
    code = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


HELP = "from vidweave.cli.main import run\nassert run(['--help']) == 0"


@pytest.mark.parametrize(
    "code",
    ["import vidweave", "from vidweave import Clip, Query, Scene, Answer", HELP, "import vidweave.media.inspect"],
    ids=["package", "values", "help", "inspect"],
)
def test_loads_no_torch(code):
    loaded = _modules_after(code)
    assert not loaded & {"torch", "transformers", "lightning", "matplotlib"}


def test_help_loads_little():
    loaded = _modules_after(HELP)
    assert len({name for name in loaded if name.startswith("vidweave.")}) < 52  # one file per command
    assert not loaded & {"numpy", "av", "PIL", "httpx"}
