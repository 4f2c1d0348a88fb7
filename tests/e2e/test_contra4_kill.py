"""A generation run that is killed at every point of every stage ends with the same bytes, and pays for nothing twice."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "contra4"))

from contra4_rows import pipeline

from vidweave.contra4.pipeline import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

_CHILD = Path(__file__).with_name("contra4_child.py")
STAGES = [stage.name for stage in pipeline().stages]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Folders of a run that nothing disturbs, one that stopped after each stage, and an empty one before the first."""
    root = tmp_path_factory.mktemp("whole")
    (root / "0").mkdir()
    for number, name in enumerate(STAGES, start=1):
        shutil.copytree(root / str(number - 1), root / str(number))
        run(pipeline(), root / str(number), until=name, progress=False)
    return root


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "cache" not in path.parts and path.name != ".lock"
    }


@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_every_point_of(stage, whole, tmp_path):
    place = STAGES.index(stage)
    out = tmp_path / "out"
    shutil.copytree(whole / str(place), out)
    kills = 0
    while True:
        command = [sys.executable, "-W", "error", str(_CHILD), str(out), stage, str(kills + 1)]
        child = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=100, check=False)
        if child.returncode == 0:
            break
        assert child.returncode == -signal.SIGKILL, child.stderr
        kills += 1
        assert kills < 60
    assert kills >= 4
    assert contents(out) == contents(whole / str(place + 1))
    assert not [path for path in out.rglob(".*") if path.name != ".lock"]
    lines = [line for path in (out / "cache").rglob("*.jsonl") for line in path.read_bytes().splitlines(keepends=True)]
    kept = Counter(json.loads(line)["key"] for line in lines if line.endswith(b"\n"))
    assert set(kept.values()) <= {1}
