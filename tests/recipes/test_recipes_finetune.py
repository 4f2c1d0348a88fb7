"""Fine-tuning on own questions: each stage trains what it says, the best weights are kept, and every output loads again."""

import json
import subprocess
import sys

import peft
import pytest
import torch

import vidweave
from vidweave.errors import AnnotationError, CheckpointError, ConfigError, TrainingError
from vidweave.model.adapter_files import load_adapter, write_adapter
from vidweave.recipes.finetune_parts.data import mixture, read_examples
from vidweave.toyworld.files import write_toyworld
from vidweave.training.loop import train
from vidweave.training.recipe import recipe_run

ASKED = ("colour", "shape")


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worlds")
    for name, seed in {"train": 5, "val": 6}.items():
        write_toyworld(folder / name, seed, 6, modalities=("video",), asked=ASKED)
    return folder


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("composed") / "model"
    vidweave.compose("tiny-rgb", "tiny-llama", "mlp", num_frames=4, choices="texts").save_pretrained(folder)
    return folder


def run_of(worlds, model, **changes):
    settings = {
        "model": model,
        "data": worlds / "train" / "examples.jsonl",
        "val": worlds / "val" / "examples.jsonl",
        "steps": 3,
        "batch_size": 4,
        "lr": 0.01,
        "workers": 0,
        **changes,
    }
    return recipe_run("finetune", [f"{name}={value}" for name, value in settings.items()])


def changed_slots(run):
    """Slots with a weight that training moved."""
    before = {name: parameter.detach().clone() for name, parameter in run.model.named_parameters()}

    def after():
        return {n.partition(".")[0] for n, p in run.model.named_parameters() if not torch.equal(before[n], p)}

    return after


@pytest.mark.parametrize(
    ("stage", "slots"),
    [("connector", {"connector"}), ("lora", {"language_model"}), ("full", {"connector", "language_model"})],
)
def test_a_stage_trains_its_slots_and_the_written_model_answers_the_same(stage, slots, worlds, composed, tmp_path):
    run = run_of(worlds, composed, stage=stage)
    after = changed_slots(run)
    result = train(run, tmp_path / "out", has_progress=False, has_events=False)
    assert after() == slots
    again = vidweave.load(tmp_path / "out" / "model")
    trained, saved = run.model.state_dict(), again.model.state_dict()
    assert trained.keys() == saved.keys()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in trained.items())
    assert {"accuracy", "loss", "interval", "model", "report"} <= result.finish.keys()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Loss per step" in page
    assert "held-out questions" in page


def test_a_shipped_model_of_the_papers_goes_on(worlds, tmp_path):
    run = run_of(worlds, "tiny-malmm", steps=2, val="")
    after = changed_slots(run)
    result = train(run, tmp_path, has_progress=False, has_events=False)
    assert after() == {"connector"}
    assert "trained without validation data" in (tmp_path / "report.html").read_text()
    assert "accuracy" not in result.finish


def test_sequential_trains_one_port_per_pass(worlds):
    run = run_of(worlds, "tiny-crema", sequential=True)
    passes = {p.name: p.trainable for p in run.stages[0].passes}
    assert next(iter(passes)) == "video"
    assert passes["audio"] == ("connector.ports.audio.*", "connector.fusion.*")
    with pytest.raises(ConfigError, match="sequential=true trains the ports of the connector"):
        run_of(worlds, "tiny-crema", sequential=True, stage="lora")


# -- LoRA as a folder


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # of PEFT
def test_the_adapter_alone_makes_the_base_the_trained_model(worlds, composed, tmp_path):
    run = run_of(worlds, composed, stage="lora", lr=0.05)
    train(run, tmp_path, has_progress=False, has_events=False)
    example = read_examples(str(worlds / "val" / "examples.jsonl"), "", "")[0]
    whole, base = vidweave.load(tmp_path / "model"), vidweave.load(composed)
    adapted = vidweave.load(composed, adapter=tmp_path / "adapter")
    (expected,), (before,), (answer,) = (pipe.answer([example.query]) for pipe in (whole, base, adapted))
    assert answer.options == expected.options
    assert answer.options != before.options
    theirs = peft.PeftModel.from_pretrained(base.model, tmp_path / "adapter").eval()
    ours, batch = whole.model, whole.inputs([example.query], targets=[example.answer])
    torch.testing.assert_close(theirs(batch).loss, ours(batch).loss)


def test_folders_that_hold_no_fitting_adapter_are_refused(composed, tmp_path):
    model = vidweave.load(composed).model
    with pytest.raises(ConfigError, match="has no LoRA adapters to write"):
        write_adapter(model, tmp_path / "a")
    with pytest.raises(CheckpointError, match="is not a folder with an adapter"):
        load_adapter(model, tmp_path)
    made = vidweave.load(composed)
    from vidweave.language.adapters import add_lora

    add_lora(made.model.language_model, rank=2)
    write_adapter(made.model, tmp_path / "a")
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    for changes, message in (
        ({"peft_type": "IA3"}, "holds a 'IA3' adapter; vidweave reads LORA"),
        ({"r": 0}, "no usable rank, got 0"),
        ({"r": 3}, r"is \(2, \d+\), the model needs \(3, \d+\)"),
    ):
        (tmp_path / "a" / "adapter_config.json").write_text(json.dumps({**config, **changes}))
        with pytest.raises(CheckpointError, match=message):
            load_adapter(vidweave.load(composed).model, tmp_path / "a")
    (tmp_path / "a" / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "a" / "adapter_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_adapter(vidweave.load(composed).model, tmp_path / "a")


# -- data


def test_weights_say_how_often_a_file_is_seen():
    mixed = mixture([["a", "b"], ["c", "d", "e", "f"]], [2, 0.5], seed=1)
    assert mixed[:4] == ["a", "b", "a", "b"]
    assert len(mixed) == 6
    assert set(mixed[4:]) < {"c", "d", "e", "f"}
    assert mixture([["a"], ["b"]], [], seed=0) == ["a", "b"]
    for weights in ([1.0], [1.0, 0.0]):
        with pytest.raises(ConfigError, match="give one positive weight for each of the 2 files"):
            mixture([["a"], ["b"]], weights, seed=0)


def test_validation_data_that_is_trained_on_is_refused(worlds, composed, tmp_path):
    copied = tmp_path / "elsewhere"
    copied.mkdir()
    for file in (worlds / "train").iterdir():  # the same bytes under another path
        (copied / file.name).write_bytes(file.read_bytes())
    with pytest.raises(
        AnnotationError, match=r"12 of 12 validation examples are trained on .*same question, same media"
    ):
        run_of(worlds, composed, val=copied / "examples.jsonl")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": ""}, "give model=NAME_OR_FOLDER and data=FILE"),
        ({"data": ""}, "give model=NAME_OR_FOLDER and data=FILE"),
        ({"weights": "1,x"}, "weights must be numbers"),
        ({"stage": "all"}, "stage must be one of 'connector', 'lora', 'full'"),
        ({"metric": "bleu"}, "metric must be one of 'accuracy', 'loss'"),
    ],
)
def test_settings_that_cannot_be_used(changes, message, worlds, composed):
    with pytest.raises(ConfigError, match=message):
        run_of(worlds, changes.pop("model", composed), **changes)


def test_data_without_answers_are_refused(worlds, composed, tmp_path):
    rows = [json.loads(line) for line in (worlds / "train" / "examples.jsonl").read_text().splitlines()]
    file = worlds / "train" / "open.jsonl"
    file.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "answer"}) + "\n" for row in rows))
    with pytest.raises(ConfigError, match=r"no example of .*open.jsonl has an answer"):
        run_of(worlds, composed, data=file)


# -- the best weights


def scripted(run, values):
    """The run with an evaluation that returns `values`, one after the other."""
    from dataclasses import replace

    left = list(values)
    stage = replace(run.stages[0], evaluate=lambda model, step: {"accuracy": left.pop(0)}, evaluate_every=1)
    return replace(run, stages=[stage], finish=None)


def weights_of(run):
    return {n: p.detach().clone() for n, p in run.model.named_parameters() if n.startswith("connector.")}


def test_the_run_ends_with_the_best_weights_also_when_it_is_started_again(worlds, composed, tmp_path):
    longer = scripted(run_of(worlds, composed, steps=4), [0.1, 0.9, 0.3, 0.9])
    train(longer, tmp_path / "four", has_progress=False, has_events=False)
    state = json.loads(max((tmp_path / "four" / "checkpoints").glob("*/state.json")).read_text())
    assert state["ended"]["best"] == {"value": 0.9, "step": 2, "waited": 2}
    best = vidweave.training.best.read_best(tmp_path / "four" / "best" / "connector.safetensors")
    assert all(torch.equal(best[name], tensor) for name, tensor in weights_of(longer).items())
    again = scripted(run_of(worlds, composed, steps=4), [])
    train(again, tmp_path / "four", has_progress=False, has_events=False)  # complete: nothing is trained
    assert all(torch.equal(best[name], tensor) for name, tensor in weights_of(again).items())


def test_patience_ends_the_stage(worlds, composed, tmp_path):
    run = scripted(run_of(worlds, composed, steps=50, patience=2), [0.5, 0.4, 0.5, 1.0])
    assert train(run, tmp_path, has_progress=False, has_events=False).total_steps == 3


def test_a_metric_that_cannot_be_compared_stops_the_run(worlds, composed, tmp_path):
    run = scripted(run_of(worlds, composed), [float("nan")])
    with pytest.raises(TrainingError, match="the metric 'accuracy' is nan at step 1; it must be finite"):
        train(run, tmp_path, has_progress=False, has_events=False)


# -- as users run it


@pytest.mark.slow
def test_own_questions_train_a_composed_model_from_an_empty_folder(tmp_path):
    def vid(*words):
        command = [sys.executable, "-m", "vidweave", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=500, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    made = ["--modality", "video", "--question-type", "colour", "--question-type", "shape"]
    vid("toyworld", "make", "--seed", 3, "--clips", 400, "--out", "train", *made)
    vid("toyworld", "make", "--seed", 4, "--clips", 60, "--out", "val", *made)
    parts = ["--encoder", "tiny-rgb", "--language-model", "tiny-llama", "--connector", "mlp"]
    vid("compose", *parts, "--num-frames", 4, "--choices", "texts", "--out", "start")
    before = json.loads(vid("evaluate", "val/examples.jsonl", "--model", "./start", "--json"))
    settings = ["data=train/examples.jsonl", "val=val/examples.jsonl", "batch_size=16", "epochs=8", "lr=5e-3"]
    done = json.loads(vid("train", "finetune", "model=./start", *settings, "cache=features", "--out", "run", "--json"))
    after = json.loads(vid("evaluate", "val/examples.jsonl", "--model", "./run/model", "--json"))
    accuracies = [data["overall"]["accuracy"] for data in (before, after)]
    assert accuracies[1] == pytest.approx(done["finish"]["accuracy"], abs=1e-6)
    assert accuracies[1] - accuracies[0] >= 0.1, accuracies
