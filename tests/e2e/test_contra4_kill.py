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

from contra4_rows import media_pipeline, pipeline

from vidweave.contra4.pipeline import Pipeline, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

_CHILD = Path(__file__).with_name("contra4_child.py")
STAGES = [stage.name for stage in pipeline().stages]
OTHER_STAGES = ["media", "captions", "words"]


def stopped_after_each_stage(made: Pipeline, root: Path) -> Path:
    """Folders of a run that nothing disturbs, one that stopped after each stage, and an empty one before the first."""
    (root / "0").mkdir(parents=True)
    for number, stage in enumerate(made.stages, start=1):
        shutil.copytree(root / str(number - 1), root / str(number))
        run(made, root / str(number), until=stage.name, progress=False)
    return root


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return stopped_after_each_stage(pipeline(), tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="module")
def whole_of_media(tmp_path_factory, media):
    return stopped_after_each_stage(media_pipeline(media), tmp_path_factory.mktemp("own"))


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "cache" not in path.parts and path.name != ".lock"
    }


def killed_at_every_point(stage: str, before: Path, after: Path, out: Path, *media: str) -> None:
    """Run one stage, dying one touch of the disk later each time, until it lives; then look at what is there."""
    shutil.copytree(before, out)
    kills = 0
    while True:
        command = [sys.executable, "-W", "error", str(_CHILD), str(out), stage, str(kills + 1), *media]
        child = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=100, check=False)
        if child.returncode == 0:
            break
        assert child.returncode == -signal.SIGKILL, child.stderr
        kills += 1
        assert kills < 60
    assert kills >= 4
    assert contents(out) == contents(after)
    assert not [path for path in out.rglob(".*") if path.name != ".lock"]
    lines = [line for path in (out / "cache").rglob("*.jsonl") for line in path.read_bytes().splitlines(keepends=True)]
    kept = Counter(json.loads(line)["key"] for line in lines if line.endswith(b"\n"))
    assert set(kept.values()) <= {1}


@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_every_point_of(stage, whole, tmp_path):
    place = STAGES.index(stage)
    killed_at_every_point(stage, whole / str(place), whole / str(place + 1), tmp_path / "out")


@pytest.mark.parametrize("stage", OTHER_STAGES)
def test_killed_at_every_point_between_files_and_tuples(stage, whole_of_media, media, tmp_path):
    place = [made.name for made in media_pipeline(media).stages].index(stage)
    killed_at_every_point(
        stage, whole_of_media / str(place), whole_of_media / str(place + 1), tmp_path / "out", str(media)
    )
