"""A whole run over a folder: the same bytes, resumed after any fault, refused where it would mix two runs."""

import errno
import json
import os
from pathlib import Path

import pytest
from contra4_rows import LoudPools, Models, always_a, checker, generator, media_pipeline, pipeline

from vidweave.cli.main import run as command
from vidweave.contra4.pipeline import Pipeline, run, usage_of
from vidweave.contra4.schema import read_questions
from vidweave.engines import Completion, ScriptedEngine
from vidweave.engines.cache import CachedEngine, ResponseCache, Usage, request_key
from vidweave.engines.protocol import Request, Sampling
from vidweave.errors import ConfigError, EngineError, PipelineError, UnknownNameError

STAGES = ["pools", "sampling", "questions", "answers", "verification", "filters", "balance", "categories"]


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    """Forcing hundreds of small files to disk is most of the time of these tests, and tests nothing in one process."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def contents(folder):
    """Every file of a run except the cache, whose lines stand in order of arrival."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and "cache" not in path.parts and path.name != ".lock"
    }


class Counting:
    """Counts requests of an engine, and may fail from the n-th on."""

    def __init__(self, script, model, fail_at=None):
        self.engine, self.count, self.fail_at = ScriptedEngine(script, model), 0, fail_at

    def describe(self):
        return self.engine.describe()

    def complete(self, requests):
        completions = self.engine.complete(requests)
        for place in range(len(completions)):
            if self.fail_at is not None and self.count + place >= self.fail_at:
                completions[place] = Completion(text="", error="500 from the server", may_pass=True)
        self.count += len(requests)
        return completions


def test_two_runs_give_the_same_bytes_and_questions_that_are_right(tmp_path):
    results = [run(pipeline(), tmp_path / name, progress=False) for name in ("a", "b")]
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert [entry["name"] for entry in results[0].stages] == STAGES
    questions = read_questions(results[0].questions)
    assert len(questions) == 44
    for question in questions:
        loudness = [int(scene.caption.rpartition(" ")[2]) for scene in question.scenes]
        assert question.answer == loudness.index(max(loudness))
        assert question.category == "Loudness"
    statistics = json.loads((tmp_path / "a" / "statistics.json").read_text())
    assert statistics["questions"] == 44
    assert not list(tmp_path.rglob(".0*"))


def test_two_runs_from_files_of_ones_own_give_the_same_bytes(tmp_path):
    made = media_pipeline(tmp_path / "media")
    results = [run(made, tmp_path / name, progress=False) for name in ("a", "b")]
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    rows = {entry["name"]: entry["rows"] for entry in results[0].stages}
    assert rows["captions"] == rows["media"] == 14
    assert 0 < rows["words"] == rows["answers"] < rows["questions"] == 18


def test_tokens_and_cost_are_counted(tmp_path):
    result = run(pipeline(), tmp_path, progress=False)
    usage = {entry["name"]: entry["usage"] for entry in result.stages}
    assert usage["questions"]["requests"] == 44
    assert usage["verification"]["requests"] == 2 * 2 * 2 * (6 * 2 + 4 * 6 + 1 * 24)  # selections, tuples, verifiers
    assert usage["questions"]["cost"] == pytest.approx(
        (usage["questions"]["input_tokens"] + usage["questions"]["output_tokens"]) / 1000
    )
    assert usage_of(result)["requests"] == sum(u.get("requests", 0) for u in usage.values())


def test_a_finished_run_asks_nothing_and_changes_nothing(tmp_path):
    run(pipeline(), tmp_path, progress=False)
    before = contents(tmp_path)
    silent = Models(
        *(
            Counting(script, name)
            for script, name in ((generator, "generator"), (checker, "first"), (checker, "second"))
        )
    )
    run(pipeline(silent), tmp_path, progress=False)
    assert [silent.generator.count, silent.first.count, silent.second.count] == [0, 0, 0]
    assert contents(tmp_path) == before


@pytest.mark.parametrize("start", STAGES)
def test_from_any_stage(tmp_path, start):
    run(pipeline(), tmp_path, progress=False)
    before = contents(tmp_path)
    for path in tmp_path.glob(f"0{STAGES.index(start) + 1}-*/*"):
        path.write_bytes(b"{}\n")
    result = run(pipeline(), tmp_path, start=start, progress=False)
    assert contents(tmp_path) == before
    assert result.questions is not None


def test_until_a_stage_and_on(tmp_path):
    result = run(pipeline(), tmp_path, until="answers", progress=False)
    assert [entry["name"] for entry in result.stages] == STAGES[:4]
    assert result.questions is None
    assert not (tmp_path / "questions.json").exists()
    run(pipeline(), tmp_path, progress=False)
    run(pipeline(), tmp_path / "whole", progress=False)
    rest = {name: data for name, data in contents(tmp_path).items() if not name.startswith("whole")}
    assert rest == contents(tmp_path / "whole")


def test_failed_requests_cost_nothing_twice(tmp_path):
    generating = Counting(generator, "generator", fail_at=13)
    models = Models(generator=generating)
    with pytest.raises(EngineError, match="5 of 9 requests failed, the first with: 500 from the server; run again"):
        run(pipeline(models), tmp_path, progress=False)
    generating.fail_at = None
    run(pipeline(models), tmp_path, progress=False)
    whole = Counting(generator, "generator")
    run(pipeline(Models(generator=whole)), tmp_path / "whole", progress=False)
    assert generating.count == whole.count + 5
    rest = {name: data for name, data in contents(tmp_path).items() if not name.startswith("whole")}
    assert rest == contents(tmp_path / "whole")


def test_a_request_that_is_refused_for_good_costs_its_row_and_is_counted(tmp_path):
    class Choosy(ScriptedEngine):
        def complete(self, requests):
            done = super().complete(requests)
            refused = Completion(text="", error="400: not allowed")
            return [refused if "pc 3 at" in r.prompt else c for r, c in zip(requests, done, strict=True)]

    for name in ("a", "b"):
        result = run(pipeline(Models(generator=Choosy(generator, "choosy"))), tmp_path / name, progress=False)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    stages = {entry["name"]: entry for entry in result.stages}
    lost = stages["questions"]["usage"]["refused"]
    assert lost > 0
    assert stages["questions"]["rows"] == stages["sampling"]["rows"] - lost
    assert stages["answers"]["usage"]["refused"] == 0
    assert "pc 3 at" not in result.questions.read_text()


def test_other_settings_are_refused_until_asked_for(tmp_path):
    run(pipeline(), tmp_path, progress=False)
    changed = pipeline(keep="majority")
    with pytest.raises(
        PipelineError,
        match=r"stage 'filters' was made with other settings \(keep: was 'unanimous_permute', now 'majority'\); .* --from filters",
    ):
        run(changed, tmp_path, progress=False)
    result = run(changed, tmp_path, start="filters", progress=False)
    assert result.stages[5]["settings"]["keep"] == "majority"
    with pytest.raises(PipelineError, match=r"belongs to another run .*rows_per_shard: was 9, now 8"):
        run(pipeline(rows_per_shard=8), tmp_path, progress=False)


def test_a_verifier_that_always_says_a_is_named(tmp_path):
    models = Models(first=ScriptedEngine(always_a, "biased"))
    with pytest.raises(
        PipelineError, match=r"stage 'filters' kept no rows .*first says Scene A: 240.*passed unanimous_permute: 0"
    ):
        run(pipeline(models), tmp_path, progress=False)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert [entry["state"] for entry in manifest["stages"]] == ["done"] * 5 + ["begun"]
    run(pipeline(models, keep="word"), tmp_path, start="filters", progress=False)


def test_damaged_shards_are_made_again(tmp_path):
    run(pipeline(), tmp_path, until="answers", progress=False)
    before = contents(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["stages"][-1] = {key: manifest["stages"][-1][key] for key in ("name", "settings")} | {"state": "begun"}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "04-answers" / "00001.jsonl").write_bytes(b'{"torn')
    (tmp_path / "04-answers" / "00002.json").unlink()
    run(pipeline(), tmp_path, until="answers", progress=False)
    assert contents(tmp_path) == before


def test_rows_that_somebody_changed_are_not_used(tmp_path):
    run(pipeline(), tmp_path, until="answers", progress=False)
    shard = tmp_path / "04-answers" / "00001.jsonl"
    shard.write_bytes(shard.read_bytes().replace(b"Scene A", b"Scene B"))
    with pytest.raises(PipelineError, match=r"00001\.jsonl is not what was written there; .* --from answers"):
        run(pipeline(), tmp_path, progress=False)
    run(pipeline(), tmp_path, start="answers", progress=False)


class FullDisk:
    """The file system is full after so many bytes."""

    def __init__(self, monkeypatch, room):
        self.room, self.write = room, os.write
        monkeypatch.setattr(os, "write", self)

    def __call__(self, descriptor, data):
        if self.room < len(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= len(data)
        return self.write(descriptor, data)


def test_disk_full_at_any_point_loses_nothing_finished(tmp_path, monkeypatch):
    run(pipeline(), tmp_path / "whole", progress=False)
    failures = []
    while not (tmp_path / "tight" / "statistics.json").exists():
        with monkeypatch.context() as patch:
            FullDisk(patch, 30_000)  # more than the largest file
            try:
                run(pipeline(), tmp_path / "tight", progress=False)
            except PipelineError as error:
                failures.append(str(error))
    assert len(failures) > 5
    assert all("No space left on device; free some space and run again" in failure for failure in failures)
    assert contents(tmp_path / "tight") == contents(tmp_path / "whole")


def test_one_process_at_a_time(tmp_path):
    class Greedy:
        """Starts a second run from within the first."""

        def describe(self):
            return {"engine": "greedy", "model": "none"}

        def complete(self, requests):
            run(pipeline(), tmp_path, progress=False)

    with pytest.raises(PipelineError, match="is used by another process"):
        run(pipeline(Models(generator=Greedy())), tmp_path, progress=False)


@pytest.mark.parametrize("content", ["", "[]", '{"format": "x"}', "{"])
def test_a_manifest_that_is_none(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(PipelineError, match=r"manifest\.json (is not a run manifest|belongs to another run)"):
        run(pipeline(), tmp_path, progress=False)


def test_pipelines_that_cannot_be():
    stages = pipeline().stages
    with pytest.raises(ConfigError, match="the first stage must produce rows itself, but 'questions' needs input rows"):
        Pipeline(name="x", stages=stages[2:])
    with pytest.raises(ConfigError, match="unique stage names, got"):
        Pipeline(name="x", stages=(LoudPools(), LoudPools()))
    with pytest.raises(ConfigError, match="rows_per_shard must be at least 1"):
        Pipeline(name="x", stages=stages, rows_per_shard=0)


def test_stages_that_are_not_there(tmp_path):
    with pytest.raises(UnknownNameError, match="unknown stage 'answer'; did you mean 'answers'"):
        run(pipeline(), tmp_path, start="answer", progress=False)
    with pytest.raises(ConfigError, match="stage 'filters' comes after 'answers'"):
        run(pipeline(), tmp_path, start="filters", until="answers", progress=False)


# ---- the cache


def request(text, **changes):
    return Request(prompt=text, sampling=Sampling(**changes))


def test_cache_keys_distinguish_everything():
    keys = {
        request_key({"model": model}, asked)
        for model in ("a", "b")
        for asked in (request("x"), request("y"), request("x", seed=1), request("x", stop=("\n",)))
    }
    assert len(keys) == 8


def test_cache_passes_over_torn_and_damaged_lines(tmp_path):
    cache, usage = ResponseCache(tmp_path), Usage()
    engine = CachedEngine(ScriptedEngine(lambda r: r.prompt.upper(), "up"), cache, usage)
    asked = [request(text) for text in ("a", "b", "a", "ü\ud800")]
    assert [c.text for c in engine.complete(asked)] == ["A", "B", "A", "Ü\ud800"]
    assert (usage.requests, usage.asked) == (4, 3)
    cache.close()
    (path,) = tmp_path.glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b'{"key": "00"}\n' + lines[1] + lines[2][:-5])
    again, usage = ResponseCache(tmp_path), Usage()
    assert len(again) == 2
    assert CachedEngine(engine.engine, again, usage).complete(asked)[3].text == "Ü\ud800"
    assert (usage.requests, usage.asked) == (4, 1)
    again.close()


def test_cache_that_cannot_write(tmp_path, monkeypatch):
    cache = ResponseCache(tmp_path)
    engine = CachedEngine(ScriptedEngine(lambda r: "x", "x"), cache, Usage())
    FullDisk(monkeypatch, 0)
    with pytest.raises(
        PipelineError, match=r"cannot store completions in .*: No space left on device; free some space"
    ):
        engine.complete([request("a")])
    assert len(cache) == 0
    cache.close()


# ---- the command

RECIPE = """
import sys
from dataclasses import dataclass
sys.path.insert(0, {folder!r})
from contra4_rows import pipeline

@dataclass(frozen=True)
class Settings:
    keep: str = "unanimous_permute"
    per_combination: int = 1

def recipe(**settings):
    return pipeline(**settings)
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "loud.py"
    path.write_text(RECIPE.format(folder=str(Path(__file__).parent)))
    return str(path)


def test_command(tmp_path, recipe, capsys):
    out = str(tmp_path / "out")
    assert command(["contra4", "generate", recipe, "per_combination=2", "--out", out, "--until", "answers"]) == 0
    assert "stopped early" in capsys.readouterr().out
    assert command(["contra4", "generate", recipe, "per_combination=2", "--out", out, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["stages"][4]["rows"] == 44
    assert data["usage"]["requests"] == 3 * 44 + 480
    assert command(["contra4", "generate", recipe, "per_combination=2", "--out", out, "--from", "balance"]) == 0
    captured = capsys.readouterr()
    assert "questions in" in captured.out
    assert "balance: 44 rows" in captured.err
    assert "verification: done before" in captured.err


def test_command_with_what_it_cannot_take(tmp_path, recipe, capsys):
    assert command(["contra4", "generate", recipe, "colour=2"]) == 2
    assert "unknown field of Settings 'colour'" in capsys.readouterr().err
    assert command(["contra4", "generate", str(tmp_path / "none.py")]) == 2
    assert "there is no recipe file" in capsys.readouterr().err
    (tmp_path / "other.py").write_text(
        "from dataclasses import dataclass\n@dataclass\nclass Settings: pass\ndef recipe(): return 3\n"
    )
    assert command(["contra4", "generate", str(tmp_path / "other.py"), "--out", str(tmp_path / "o")]) == 2
    assert "must return a vidweave.contra4.pipeline.Pipeline, got int" in capsys.readouterr().err
