"""Two Ray workers, one of which is killed: the same bytes as in one process."""

import os
import textwrap

import pytest

from vidweave.contra4.pipeline import run
from vidweave.errors import ConfigError, EngineError
from vidweave.types.recipe import read_recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RECIPE = """
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from vidweave.contra4.pipeline import Pipeline
from vidweave.contra4.answers import Answers
from vidweave.engines import Completion, ScriptedEngine
from vidweave.types.recipe import load_recipe

toy = load_recipe({toy!r})

@dataclass(frozen=True)
class Settings:
    marker: str = ""
    fails: bool = False

@dataclass(frozen=True)
class Deadly:
    '''The toy writer; the first worker that uses it is killed, after some of its shard.'''
    marker: str
    fails: bool

    def describe(self):
        return {{"engine": "scripted", "model": "toy writer"}}

    def complete(self, requests):
        if self.fails:
            return [Completion(text="", error="no such model") for _ in requests]
        if self.marker:
            try:
                os.close(os.open(self.marker, os.O_CREAT | os.O_EXCL))
                os.kill(os.getpid(), signal.SIGKILL)
            except FileExistsError:
                pass
        return ScriptedEngine(lambda request: toy.write(request, 0.1), "toy").complete(requests)

def recipe(marker, fails):
    made = toy.recipe(seed=4, per_combination=3, media=20, modalities=toy.MODALITIES, errors=0.1)
    stages = [Answers(engine=Deadly(marker, fails)) if stage.name == "answers" else stage for stage in made.stages]
    return replace(made, stages=tuple(stages), rows_per_shard=11)
"""


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray", reason="pip install 'vidweave[scale]'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    yield ray
    ray.shutdown()


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "cache" not in path.parts and path.name != ".lock"
    }


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_killed_worker_changes_nothing(ray, tmp_path):
    from vidweave.contra4.ray_workers import RayWorkers

    (tmp_path / "r.py").write_text(textwrap.dedent(RECIPE).format(toy="contra4/toy"))

    def made(**settings):
        recipe, defaults = read_recipe(tmp_path / "r.py")
        return recipe(**(defaults | settings))

    run(made(), tmp_path / "alone", until="answers", progress=False)
    marker = tmp_path / "killed"
    run(made(marker=str(marker)), tmp_path / "pool", until="answers", progress=False, executor=RayWorkers(workers=2))
    assert marker.exists()
    assert contents(tmp_path / "pool") == contents(tmp_path / "alone")
    writers = {path.name.partition("-")[0] for path in (tmp_path / "pool" / "cache").rglob("*.jsonl")}
    assert writers
    assert str(os.getpid()) not in writers  # the work was done elsewhere

    with pytest.raises(EngineError, match="requests failed, the first with: no such model"):
        run(made(fails=True), tmp_path / "failed", until="answers", progress=False, executor=RayWorkers(workers=2))
    with pytest.raises(ConfigError, match="a pool needs at least 1 worker, got 0"):
        RayWorkers(workers=0)
