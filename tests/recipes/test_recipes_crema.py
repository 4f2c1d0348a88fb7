"""CREMA's recipe on tiny files of the real layout: it trains exactly what it says, and the folder it leaves answers."""

import csv
import json
import math
import shutil
from statistics import fmean

import numpy as np
import pytest
import torch
from tiny_crema_model import SIZES, tokenizer

import vidweave
from vidweave.errors import ConfigError, ModalityError, UnknownNameError
from vidweave.media.write import write_image
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.processor import Processor
from vidweave.systems.crema.preset import build
from vidweave.training import AnswerLoss
from vidweave.training.loop import train
from vidweave.training.recipe import recipe_run

RECIPE = "crema/train"


@pytest.fixture
def world(tmp_path):
    torch.manual_seed(0)
    config = build(("video", "depth", "normals"), dataset="nextqa", sizes=SIZES)
    model = VideoLanguageModel(config).eval()
    model.processor = Processor(config, {"language": tokenizer()})
    model.save_pretrained(tmp_path / "start")
    rng, rows = np.random.default_rng(0), []
    for number in range(4):
        for ending in ("", "_depth", "_norm"):
            folder = tmp_path / f"frames{ending}" / f"11/{number}"
            folder.mkdir(parents=True)
            for index in range(3):
                write_image(folder / f"{index:05d}.png", rng.integers(0, 255, (20, 24, 3), dtype=np.uint8))
            (folder / "frames.json").write_text(json.dumps({"fps": 3}))
        rows.append(
            {"video": f"11/{number}", "num_option": 2, "qid": f"CW_{number}_0", "a0": "a cat", "a1": "a dog",
             "answer": number % 2, "question": "what is it ?"}
        )  # fmt: skip
    (tmp_path / "train.json").write_text(json.dumps(rows))
    return tmp_path


def settings(world, **changes):
    words = {"start": world / "start", "dataset": "nextqa", "annotations": world / "train.json"}
    words |= {
        "media": world / "frames",
        "batch_size": 2,
        "epochs": 2,
        "lr": 0.01,
        "held_out": 0.0,
        "workers": 0,
        **changes,
    }
    return [f"{key}={value}" for key, value in words.items()]


def test_one_pass_per_modality_and_nothing_else_is_trained(world):
    run = recipe_run(RECIPE, settings(world, exit_temperature=-1))
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    (stage,) = run.stages
    for name, names in stage.trainable(run.model).items():
        assert all(n.startswith((f"connector.ports.{name}.", "connector.fusion.")) for n in names)
    result = train(run, world / "out", has_progress=False, has_events=False)
    assert result.total_steps == 4
    moved = {name for name, p in run.model.named_parameters() if not torch.equal(p, before[name])}
    own = {name for name in before if name.startswith(("connector.ports.", "connector.fusion."))}
    assert moved <= own
    assert {name.split(".")[2] for name in moved if ".ports." in name} == {"video", "depth", "normals"}
    again = vidweave.load(world / "out" / "model").model
    assert all(torch.equal(p, again.get_parameter(name)) for name, p in run.model.named_parameters())


def test_jointly_and_held_out(world):
    run = recipe_run(RECIPE, settings(world, sequential=False, held_out=0.5, epochs=1))
    result = train(run, world / "out", has_progress=False, has_events=False)
    assert list(result.metrics["nextqa"]) == ["held_out_loss"]
    assert result.total_steps == 1


def test_a_modality_that_no_example_has_is_refused_by_name(world, caplog):
    shutil.rmtree(world / "frames_norm")
    caplog.set_level("INFO", logger="vidweave.training")
    with pytest.raises(ModalityError, match=r"no example of nextqa \(.*train.json\) has normals; put the files"):
        recipe_run(RECIPE, settings(world))
    assert "nextqa: examples per modality: video 4, depth 4, normals 0" in caplog.text
    run = recipe_run(RECIPE, settings(world, modalities="depth,video"))  # as the message advises
    assert [learning.name for learning in run.stages[0].passes] == ["video", "depth"]
    with pytest.raises(UnknownNameError, match="unknown modality of this model 'dept'; did you mean 'depth'"):
        recipe_run(RECIPE, settings(world, modalities="dept"))


@pytest.mark.parametrize("sequential", [True, False])
def test_a_batch_without_a_modality_moves_nothing_of_it(world, sequential):
    """Neither its port nor its matrix of the fusion, which a gradient of zero would leave to weight decay."""
    for number in range(4):
        shutil.rmtree(world / "frames_depth" / f"11/{number}") if number else None
    run = recipe_run(RECIPE, settings(world, batch_size=1, epochs=1, sequential=sequential))
    (stage,) = run.stages
    before, moved = dict[str, torch.Tensor](), []

    def watch(model, batch):
        after = {name: p.detach().clone() for name, p in model.named_parameters() if ".depth." in name}
        if before and "depth" not in watch.last:
            moved.extend(name for name in after if not torch.equal(before[name], after[name]))
        before.update(after)
        watch.last = set(batch.streams)
        return AnswerLoss()(model, batch)

    object.__setattr__(stage, "objective", watch)
    own = {name for name, _ in run.model.named_parameters() if ".depth." in name}
    assert any(".ports." in name for name in own)
    train(run, world / "out", has_progress=False, has_events=False)
    assert not moved
    with (world / "out" / "logs" / "nextqa.csv").open() as file:
        rows = list(csv.DictReader(file))
    if sequential:
        info = [not math.isnan(float(row["depth/loss"])) for row in rows]
        assert sum(info) == 1
        for row in rows:
            losses = [float(row[f"{name}/loss"]) for name in ("video", "depth", "normals")]
            assert float(row["loss"]) == pytest.approx(fmean(loss for loss in losses if not math.isnan(loss)))


def test_matrices_of_every_modality_decay_the_same(world):
    """`normals` is no norm."""
    run = recipe_run(RECIPE, settings(world))
    (stage,) = run.stages
    shapes = {name: p.ndim for name, p in run.model.named_parameters() if ".ports." in name or ".fusion." in name}
    decaying = {name for name, ndim in shapes.items() if stage.optimizer.decays(name, ndim)}
    assert decaying == {name for name, ndim in shapes.items() if ndim > 1}
    assert any(".normals." in name for name in decaying)


def test_an_unknown_data_set_is_named():
    with pytest.raises(UnknownNameError, match="unknown data set of CREMA 'msvd'; known: 3d-llm, audiocaps"):
        recipe_run(RECIPE, ["start=x", "annotations=x", "media=x", "dataset=msvd"])


def test_what_must_be_given():
    with pytest.raises(ConfigError, match="give start=FOLDER, annotations=FILE and media=FOLDER"):
        recipe_run(RECIPE, [])
