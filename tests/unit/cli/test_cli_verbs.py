"""The verbs besides `ask`: what they hand on, and what they print."""

from __future__ import annotations

import json
import sys
import tomllib
from types import SimpleNamespace

import pytest
import torch

from vidweave.cli import doctor
from vidweave.cli.doctor import Finding
from vidweave.data.schema import Example
from vidweave.media.store import FeatureStore
from vidweave.registry import TASKS
from vidweave.types import Query
from vidweave.types.recipe import recipe_names


def test_inspect_reports_counted_and_header_numbers(vid, clip):
    data = vid("inspect", clip, "--json").data
    assert data["duration_seconds"] == pytest.approx(1.75, abs=0.1)
    frame, audio = data["streams"]
    assert (frame["num_frames"], frame["num_frames_from_header"], frame["rotation"]) == (7, 7, 0)
    assert audio["sample_rate"] == 8_000
    text = vid("inspect", clip).out
    assert "streams[0]:\n  type: video\n" in text
    assert "duration_seconds: 1.75" in text


def test_models_list_names_what_is_registered(vid):
    data = vid("models", "list", "--json").data
    names = {row["name"]: row for row in data["models"]}
    assert names["blip2-flan-t5-xl"]["weights"] == "Salesforce/blip2-flan-t5-xl"
    assert "blip2-flan-t5-xl" in vid("models", "list").out


@pytest.mark.slow
def test_models_show_counts_slots(vid):
    done = vid("models", "show", "blip2-flan-t5-xl", "--json")
    slots = {row["slot"]: row for row in done.data["slots"]}
    assert slots["encoders.vision"]["parameters"] == pytest.approx(986e6, rel=0.01)
    assert slots["connector"]["parameters"] == pytest.approx(106.7e6, rel=0.01)
    assert slots["language_model"]["weight_bytes"] == 2 * slots["language_model"]["parameters"]
    assert done.data["total"]["parameters"] == sum(row["parameters"] for row in slots.values())
    assert all(row["flops"] is None or row["flops"] >= 0 for row in slots.values())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["blip2-flan-t5"], "did you mean 'blip2-flan-t5-xl'"),
        (["blip2-flan-t5-xl", "--dtype", "float61"], "unknown dtype 'float61'; did you mean"),
    ],
)
def test_models_show_refuses_unknown_names(vid, arguments, complaint):
    done = vid("models", "show", *arguments)
    assert done.code == 2
    assert complaint in done.err


def test_models_show_reads_folders(vid, tmp_path):
    from transformers import Blip2Config, T5Config

    text = T5Config(d_model=24, d_kv=6, d_ff=20, num_layers=1, num_heads=4, vocab_size=77)
    vision = {
        "hidden_size": 12,
        "intermediate_size": 20,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
    }
    qformer = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 20,
        "encoder_hidden_size": 12,
    }
    config = Blip2Config(vision_config=vision, qformer_config=qformer, text_config=text.to_dict(), num_query_tokens=5)
    config.save_pretrained(tmp_path)
    slots = {row["slot"]: row for row in vid("models", "show", tmp_path, "--json").data["slots"]}
    assert slots["connector"]["note"] == "20 tokens to the language model"
    (tmp_path / "config.json").write_text("[]")
    done = vid("models", "show", tmp_path)
    assert done.code == 1
    assert "has no readable config.json" in done.err


def test_world_make_writes_clips_and_questions(vid, tmp_path):
    data = vid(
        "toyworld", "make", "--seed", 7, "--clips", 2, "--out", tmp_path / "w", "--modality", "depth", "--json"
    ).data
    lines = [json.loads(line) for line in (tmp_path / "w" / "questions.jsonl").read_text().splitlines()]
    assert (data["num_clips"], data["num_questions"]) == (2, len(lines))
    assert {"clip", "question", "options", "answer", "question_type", "needs", "scope"} <= set(lines[0])
    assert (tmp_path / "w" / lines[0]["clip"]).stat().st_size > 0
    again = vid("toyworld", "make", "--clips", 2, "--out", tmp_path / "w")
    assert again.code == 2
    assert "is not an empty folder" in again.err


def test_world_show_draws_a_frame(vid, tmp_path):
    assert vid("toyworld", "show", "--seed", 3, "--out", tmp_path / "s.png").code == 0
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    assert "--length must be short or long, got 'tall'" in vid("toyworld", "show", "--length", "tall").err
    assert vid("toyworld", "show", "--out", tmp_path / "s.xyz").code == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.png"]


def test_train_hands_the_recipe_on(vid, tmp_path, monkeypatch):
    seen = {}

    def recipe_run(path, overrides):
        seen["recipe"] = path, list(overrides)
        return SimpleNamespace(name="a run")

    def train(run, out, **arguments):
        seen["train"] = out, arguments
        return SimpleNamespace(
            out=out,
            elapsed_seconds=1.5,
            total_steps=8,
            losses={"one": 0.25},
            metrics={"one": {"acc": 0.9}},
            finish=None,
        )

    recipe = tmp_path / "base.py"
    recipe.write_text("")
    monkeypatch.setattr("vidweave.training.recipe_run", recipe_run)
    monkeypatch.setattr("vidweave.training.train", train)
    done = vid("train", recipe, "steps=8", "optimizer.lr=1e-4", "--budget", "1h30m", "--out", tmp_path, "--json")
    assert done.data["losses"] == {"one": 0.25}
    assert seen["recipe"] == (str(recipe), ["steps=8", "optimizer.lr=1e-4"])
    assert seen["train"] == (tmp_path, {"budget_seconds": 5400.0, "resume": True, "devices": 1, "accelerator": "cpu"})
    assert "one: loss 0.2500\none: acc 0.9000" in vid("train", recipe).out


def test_recipes_are_listed(vid):
    rows = vid("train", "--list", "--json").data["recipes"]
    assert {"name": "merv/frozen"}.items() <= rows[[row["name"] for row in rows].index("merv/frozen")].items()
    assert all(row["summary"] for row in rows)
    lines = vid("contra4", "generate", "--list").out.splitlines()
    assert [line.split()[0] for line in lines] == ["recipe", *recipe_names("contra4 generate")]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["none.py"], "there is no recipe file none.py"),
        (["x.py", "--budget", "soon"], "Invalid value for '--budget': 'soon' is not a time"),
    ],
)
def test_train_refuses_bad_input(vid, arguments, complaint):
    done = vid("train", *arguments)
    assert done.code == 2
    assert complaint in done.err


def test_evaluate_prints_question_types_and_resumes(vid, model, tmp_path):
    options = (
        "evaluate",
        "--examples",
        3,
        "--question-type",
        "colour",
        "--question-type",
        "count",
        "--predictions",
        tmp_path / "r.jsonl",
        "--json",
    )
    first = vid(*options, "--batch-size", 2, "--limit", 4)
    assert first.code == 0
    assert first.data["overall"]["num_items"] == 4
    asked = len(model.asked)
    again = vid(*options).data
    assert (again["num_resumed"], again["overall"]["num_items"]) == (4, 6)
    assert len(model.asked) == asked + 2
    text = vid(*options[:-3]).out.splitlines()
    assert text[0].split() == ["question", "type", "accuracy", "95%", "interval", "chance", "items"]
    assert {line.split()[0] for line in text[1:]} - {"time:"} == {"colour", "count", "all"}


def test_evaluate_refuses_unknown_names(vid, model):
    assert "unknown task 'toyword'; did you mean 'toyworld'?" in vid("evaluate", "--task", "toyword").err
    assert "unknown question type 'colours'" in vid("evaluate", "--question-type", "colours").err
    assert not model.loads


class OwnTask:
    """A task that somebody registered."""

    def __init__(self, count: int = 3) -> None:
        self.count = count

    def ids(self):
        return [f"q{i}" for i in range(self.count)]

    def example(self, index):
        query = Query.about("a.mp4", f"Which one is {index}?", ["yes", "no"])
        return Example(id=f"q{index}", query=query, answer="yes", question_type="own")

    def describe(self):
        return {"name": "own", "count": self.count}


def _closed(*, place: str, seed: int = 0) -> OwnTask:
    raise AssertionError("it lacks its place")


@pytest.fixture
def tasks():
    own = {"own-class": OwnTask, "own-object": OwnTask(2), "own-closed": _closed}
    for name, target in own.items():
        TASKS.register(name, target)
    yield
    for name in own:
        TASKS.unregister(name)


@pytest.mark.parametrize(("name", "count"), [("own-class", 3), ("own-object", 2)])
def test_evaluate_takes_registered_tasks(vid, model, tasks, name, count):
    done = vid("evaluate", "--task", name, "--json")
    assert done.code == 0, done.err
    assert done.data["overall"]["num_items"] == count


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["own-class", "--question-type", "a", "--seed", "3"],
            "the task 'own-class' has no setting seed, question_types; it has: count",
        ),
        (["own-object", "--examples", "3"], "the task 'own-object' has no setting examples; it has: nothing"),
        (["own-closed", "--seed", "3"], "the task 'own-closed' needs place=…; see `vidweave list`"),
    ],
)
def test_evaluate_names_settings_that_a_task_does_not_have(vid, model, tasks, arguments, complaint):
    done = vid("evaluate", "--task", *arguments)
    assert (done.code, done.err) == (2, f"error: {complaint}\n")
    assert not model.loads


@pytest.fixture
def store(tmp_path):
    with FeatureStore(tmp_path / "store") as store:
        store.put("k" * 64, {"values": torch.zeros(3, 5)}, {"clip": "a.mp4"})
    return tmp_path / "store"


def test_cache_ls_verify_and_prune(vid, store):
    data = vid("cache", "ls", "--cache", store, "--json").data
    assert (data["num_entries"], data["entries"][0]["clip"]) == (1, "a.mp4")
    assert "1 entries in 1 shards" in vid("cache", "ls", "--cache", store).out
    assert vid("cache", "verify", "--cache", store).code == 0
    assert vid("cache", "prune", "--cache", store, "--max-size", "0", "--json").data["num_entries"] == 1
    assert vid("cache", "ls", "--cache", store, "--json").data["num_entries"] == 0


def test_cache_verify_fails_on_damage(vid, store):
    shard = next(store.rglob("*.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-3] ^= 255
    shard.write_bytes(data)
    done = vid("cache", "verify", "--cache", store)
    assert done.code == 1
    assert "vidweave cache prune --damaged" in done.out
    assert vid("cache", "prune", "--cache", store, "--damaged").code == 0
    assert vid("cache", "verify", "--cache", store, "--json").data["ok"]


def test_cache_ls_without_a_cache_is_an_empty_listing(vid, store, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDWEAVE_CACHE", str(tmp_path / "none"))
    done = vid("cache", "ls")
    assert (done.code, done.err) == (0, "")
    assert f"no feature store at {tmp_path / 'none'} yet; --cache of ask and evaluate creates one" in done.out
    data = vid("cache", "ls", "--json").data
    assert (data["num_entries"], data["entries"]) == (0, [])
    assert set(data) <= set(vid("cache", "ls", "--cache", store, "--json").data)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", ["verify", "prune"])
def test_cache_says_where_it_looked(vid, tmp_path, command):
    done = vid("cache", command, "--cache", tmp_path / "none")
    assert done.code == 2
    assert f"there is no feature store at '{tmp_path / 'none'}'; give its folder with --cache" in done.err


@pytest.mark.parametrize("command", ["ls", "verify", "prune"])
def test_cache_refuses_a_file(vid, tmp_path, command):
    (tmp_path / "file").write_text("")
    done = vid("cache", command, "--cache", tmp_path / "file")
    assert (done.code, done.err) == (2, f"error: --cache must be a folder, '{tmp_path / 'file'}' is a file\n")


def test_cache_prune_refuses_sizes_without_meaning(vid, tmp_path):
    assert vid("cache", "prune", "--cache", tmp_path, "--max-size", "much").code == 2


def test_doctor_fails_with_a_fix_for_each_problem(vid, monkeypatch):
    checks = (lambda: iter([Finding("a", "ok", "fine"), Finding("b", "problem", "broken", "mend it")]),)
    monkeypatch.setattr(doctor, "CHECKS", checks)
    done = vid("doctor")
    assert done.code == 1
    assert "fix b: mend it\n1 problem\n" in done.out
    assert vid("doctor", "--json").data["ok"] is False
    monkeypatch.setattr(doctor, "CHECKS", ())
    assert vid("doctor").code == 0


def test_doctor_finds_the_torchvision_trap(monkeypatch, tmp_path):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(doctor, "_version", lambda package: "0.28.0")
    (finding,) = doctor._check_torchvision()
    sys.modules.pop("torchvision", None)
    assert finding.status == "problem"
    assert "operator torchvision::nms does not exist" in finding.found
    assert "pip uninstall torchvision" in finding.fix


def test_doctor_wants_safe_versions(monkeypatch):
    versions = {"av": "16.0.1", "transformers": "5.2.0", "torch": "2.15.0", "safetensors": "0.8.0", "numpy": "2.4.6"}
    monkeypatch.setattr(doctor, "_version", versions.get)
    result = {f.what: f for check in (doctor._check_required, doctor._check_torch) for f in check()}
    assert {name for name, f in result.items() if f.status == "problem"} == {
        "av",
        "transformers",
        "torch",
        "tokenizers",
    }
    assert result["av"].fix == "pip install 'av>=17.1' (older versions have a parser that corrupts memory)"
    assert result["tokenizers"].found == "not installed"


def test_doctor_lists_each_extra_with_its_line(monkeypatch, repository):
    declared = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(doctor.EXTRAS) == set(declared)
    lines = [f"{line}; extra == '{extra}'" for extra, requested in declared.items() for line in requested]
    monkeypatch.setattr("importlib.metadata.requires", lambda package: ["av>=17.1", *lines])
    versions = {"lightning-fabric": "2.7.1", "peft": "0.16.9", "httpx": "0.28.1"}
    monkeypatch.setattr(doctor, "_version", versions.get)
    result = {f.what: f.found for f in doctor._check_extras()}
    assert set(result) == {f"extra {name}" for name in declared}
    assert (
        result["extra train"] == "missing peft>=0.17, tensorboard>=2.18 (vidweave train): pip install 'vidweave[train]'"
    )
    assert result["extra eval"] == "installed (models behind endpoints)"
    assert result["extra scale"].startswith("not installed (Ray workers")
    assert result["extra scale"].endswith(": pip install 'vidweave[scale]'")
    assert "accelerate>=1.2" in result["extra test"]  # of an extra that `test` is made of


def test_doctor_finds_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VIDWEAVE_CACHE", str(tmp_path / "file" / "cache"))
    (finding,) = doctor._check_cache()
    assert finding.status == "problem"
    assert "VIDWEAVE_CACHE" in finding.fix


def test_models_list_says_what_loads_now_and_what_to_type(vid, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    states = {row["name"]: (row["state"], row["loads_now"]) for row in vid("models", "list", "--json").data["models"]}
    assert states["tiny-base"] == ("shipped", True)
    assert states["blip2-flan-t5-xl"] == ("hub", False)
    assert states["merv-full"] == ("convert", False)
    snapshot = tmp_path / "models--Salesforce--blip2-flan-t5-xl" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    (snapshot / "config.json").write_text("{}")
    listed = {row["name"]: row["state"] for row in vid("models", "list", "--json").data["models"]}
    assert listed["blip2-flan-t5-xl"] == "hub"  # half downloaded
    (snapshot / "model.safetensors.index.json").write_text("{}")
    listed = {row["name"]: row["state"] for row in vid("models", "list", "--json").data["models"]}
    assert listed["blip2-flan-t5-xl"] == "downloaded"
    assert "vidweave convert LAYOUT FILE --out FOLDER" in vid("models", "list").out
