"""What docs/contra4.md shows runs, and its commands exist."""

import re
from pathlib import Path

import typer

from vidweave.cli.contra4 import app

PAGE = (Path(__file__).parents[2] / "docs" / "contra4.md").read_text(encoding="utf-8")


def test_python_runs():
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "docs/contra4.md", "exec"), {})  # noqa: S102


def test_commands_exist():
    known = set(typer.main.get_command(app).commands)
    named = set(re.findall(r"vidweave contra4 (\w+)", PAGE))
    assert named
    assert named <= known


def test_files_exist():
    root = Path(__file__).parents[2]
    for name in re.findall(r"`((?:tests|benchmarks)/[\w/.]+)`", PAGE):
        assert (root / name).exists(), name
    for name in re.findall(r"`(\w+\.py)`", PAGE):
        assert (root / "src" / "vidweave" / "contra4" / name).exists(), name
