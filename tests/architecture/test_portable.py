"""The repository names no machine: no home folders, no build paths, no package-registry hosts, no secrets."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Written so that this file does not find itself.
PATTERNS = {
    "a machine path": r"(?<![\w.~}])/([w]ork|[r]oot|[h]ome/\w+|[U]sers/\w+|[m]nt|[o]pt/wheels|[o]pt/pypi)/",
    "a package-registry host": r"py[p]i\.org|python[h]osted\.org|npm[j]s\.org",
    "a secret": r"\bhf_[A-Za-z0-9]{20,}|\bghp_[A-Za-z0-9]{20,}|-----BEGIN [A-Z ]*PRIVATE KEY",
}


def findings(text: str) -> list[str]:
    return [f"{what}: {result.group(0)}" for what, pattern in PATTERNS.items() for result in re.finditer(pattern, text)]


def _tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout: nothing says which files belong to the repository")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def _text(path: Path) -> str:
    data = path.read_bytes()
    return "" if b"\0" in data[:8192] else data.decode("utf-8", errors="replace")


def test_names_no_machine():
    result = {str(path.relative_to(ROOT)): reply for path in _tracked() if (reply := findings(_text(path)))}
    assert result == {}


@pytest.mark.parametrize("folder", ["work", "root", "home/alice", "Users/bob", "opt/wheels"])
def test_finds_machine_paths(folder):
    assert findings(f"cd /{folder}/project")
    assert findings(f"path='/{folder}/x'")


@pytest.mark.parametrize("text", ["https://{}.org/simple".format("pypi"), "token = hf_" + "a" * 30])
def test_finds_registries_and_secrets(text):
    assert findings(text)


def test_ordinary_text_passes():
    assert findings("https://example.org/work, ./work/x, ~/.cache/vidweave, file://{path}, networks/root/x") == []
