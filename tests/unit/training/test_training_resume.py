"""What may change between two parts of a run: lengths may grow; other data and another number of processes are refused."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn
from training_toys import TinyData, stack, tiny_run, tiny_stage

from vidweave.errors import TrainingError
from vidweave.training import AdamWSettings, EarlyExit, Pass, Schedule, train
from vidweave.types import Clip, Query


class StopError(Exception):
    pass


class OtherData(TinyData):
    """As many examples; from the `first` on, others."""

    def __init__(self, size=37, first=0):
        super().__init__(size)
        self.first = first

    def __getitem__(self, index):
        return super().__getitem__(index + 1000 if index >= self.first else index)


def quietly(run, out, **settings):
    return train(run, out, **{"has_events": False, "has_progress": False, "checkpoint_every": 3, **settings})


def cut(run, out, *, at, stage=0, **settings):
    """The run, stopped after step `at` of a stage."""

    def stop(model, step):
        if step == at:
            raise StopError
        return {}

    object.__setattr__(run.stages[stage], "evaluate", stop)
    object.__setattr__(run.stages[stage], "evaluate_every", 1)
    with pytest.raises(StopError):
        quietly(run, out, **settings)


def equal(first, second):
    return all(torch.equal(p, second.model.get_parameter(name)) for name, p in first.model.named_parameters())


def rows(out, stage="only"):
    with (out / "logs" / f"{stage}.csv").open() as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def test_other_data_of_the_same_length_do_not_resume(tmp_path):
    cut(tiny_run(), tmp_path, at=4)
    with pytest.raises(
        TrainingError,
        match=r"the data of stage 'only' changed: 8 of 8 compared examples are others \(e\.g\. example 0\); resume with",
    ):
        quietly(tiny_run(tiny_stage(examples=OtherData())), tmp_path)
    with pytest.raises(TrainingError, match=r"changed: 1 of 8 compared examples are others \(e\.g\. example 36\)"):
        quietly(tiny_run(tiny_stage(examples=OtherData(first=35))), tmp_path)
    quietly(tiny_run(), tmp_path)


def test_a_finished_stage_remembers_its_data(tmp_path):
    quietly(tiny_run(), tmp_path)
    with pytest.raises(TrainingError, match="the data of stage 'only' changed"):
        quietly(tiny_run(tiny_stage(examples=OtherData())), tmp_path)
    assert quietly(tiny_run(), tmp_path).total_steps == 12


def test_examples_that_a_model_makes_are_compared_without_their_floats(tmp_path):
    """Features may differ in the last bit on another machine; what they are of may not."""

    def features(shift=0.0, first=0):
        made = [(x + shift, y, f"clip {first + i}") for i, (x, y) in enumerate(TinyData()[i] for i in range(9))]
        return lambda model: made

    def stage(**changes):
        return tiny_stage(examples=features(**changes), collate=lambda rows: stack([row[:2] for row in rows]))

    cut(tiny_run(stage()), tmp_path, at=4)
    with pytest.raises(TrainingError, match="8 of 8 compared examples are others"):
        quietly(tiny_run(stage(first=1)), tmp_path)
    quietly(tiny_run(stage(shift=1e-6)), tmp_path)


def test_replaced_media_are_noticed_and_moved_ones_are_not(tmp_path):
    def clips(folder, seed):
        rng = np.random.default_rng(seed)
        for i in range(5):
            (folder / f"frames{i}").mkdir(parents=True, exist_ok=True)
            (folder / f"frames{i}" / "0.png").write_bytes(rng.bytes(50))
            (folder / f"{i}.wav").write_bytes(rng.bytes(300_000))
        queries = [Query.about(Clip(str(folder / f"frames{i}"), audio=folder / f"{i}.wav"), "what ?") for i in range(5)]
        return [(query, TinyData()[i]) for i, query in enumerate(queries)]

    def stage(examples):
        return tiny_stage(examples=examples, collate=lambda rows: stack([row[1] for row in rows]))

    cut(tiny_run(stage(clips(tmp_path / "media", 0))), tmp_path / "run", at=4)
    shutil.copytree(tmp_path / "media", tmp_path / "moved")
    with pytest.raises(TrainingError, match="5 of 5 compared examples are others"):
        quietly(tiny_run(stage(clips(tmp_path / "media", 1))), tmp_path / "run")
    quietly(tiny_run(stage(clips(tmp_path / "moved", 0))), tmp_path / "run")


def test_another_number_of_processes_does_not_resume(tmp_path):
    cut(tiny_run(), tmp_path, at=4)
    state = tmp_path / "checkpoints" / "000-000000003" / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "world_size": 2}))
    with pytest.raises(
        TrainingError, match="was trained by 2 processes, now there are 1; resume with devices=2, or train into another"
    ):
        quietly(tiny_run(), tmp_path)


@pytest.mark.parametrize("at", [7, None])
def test_a_run_may_be_made_longer(tmp_path, at):
    """In the middle of its stage or after its end: with the optimizer's moments, as if it had been that long."""

    def stage(steps):
        schedule = Schedule("epochs", num_epochs=steps // 4, steps_per_epoch=4, min_lr_ratio=1.0)
        return tiny_stage(steps=steps, schedule=schedule)

    whole = tiny_run(stage(20))
    quietly(whole, tmp_path / "whole")
    part = tiny_run(stage(12), config={"epochs": 3, "lr": 1})
    if at:
        cut(part, tmp_path / "part", at=at)
    else:
        quietly(part, tmp_path / "part")
    longer = tiny_run(stage(20), config={"epochs": 5, "lr": 1})
    assert quietly(longer, tmp_path / "part").total_steps == 20
    assert equal(whole, longer)
    assert rows(tmp_path / "part") == rows(tmp_path / "whole")
    again = tiny_run(stage(20), config={"epochs": 5, "lr": 1})
    assert quietly(again, tmp_path / "part").losses == {}
    with pytest.raises(
        TrainingError, match=r"another recipe: config.epochs was 5, is 3; .*stages.only.steps was 20, is 12"
    ):
        quietly(tiny_run(stage(12), config={"epochs": 3, "lr": 1}), tmp_path / "part")
    with pytest.raises(TrainingError, match=r"another recipe: config.lr was 1, is 2\. Resume"):
        quietly(tiny_run(stage(24), config={"epochs": 6, "lr": 2}), tmp_path / "part")


def test_a_stage_on_which_later_ones_were_built_is_not_made_longer(tmp_path):
    quietly(tiny_run(tiny_stage(name="first"), tiny_stage(name="second")), tmp_path)
    with pytest.raises(TrainingError, match="stage 'first' is done and has more steps now; only the running stage or"):
        quietly(tiny_run(tiny_stage(name="first", steps=14), tiny_stage(name="second")), tmp_path)


def test_more_examples_may_follow_the_old_ones(tmp_path):
    cut(tiny_run(), tmp_path, at=4)
    with pytest.raises(TrainingError, match="the data changed: the checkpoint is at"):
        quietly(tiny_run(tiny_stage(examples=TinyData(36))), tmp_path)
    assert quietly(tiny_run(tiny_stage(examples=OtherData(50, first=37))), tmp_path).total_steps == 12


@pytest.mark.slow
def test_moments_of_a_resumed_stage_do_not_flow_into_the_next(tmp_path):
    def stages():
        return tiny_stage(name="first"), tiny_stage(name="second", optimizer=AdamWSettings(lr=3e-2))

    whole, resumed = tiny_run(*stages()), tiny_run(*stages())
    quietly(whole, tmp_path / "whole")
    cut(tiny_run(*stages()), tmp_path / "cut", at=7)
    quietly(resumed, tmp_path / "cut")
    assert equal(whole, resumed)
    # Where the kill came after a stage's end, there is nothing to hand on either.
    cut(tiny_run(*stages()), tmp_path / "late", at=1, stage=1)
    late = tiny_run(*stages())
    quietly(late, tmp_path / "late")
    assert equal(whole, late)


def test_gauges_of_a_begun_epoch_survive(tmp_path):
    """The checkpoint of step 3 stands in the middle of an epoch of two steps."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))

    def pushes(model, batch):
        return {"loss": ((model.a + model.b) * torch.as_tensor(batch[0], dtype=torch.float32)).sum()}

    def run():
        rule = EarlyExit(steps_per_epoch=2, temperature=1.5, min_epoch=1, measured=("*",))
        stage = tiny_stage(
            objective=pushes, examples=[1.0, 1.0, 9.0, 1.0, 1.0, 1.0], collate=list, steps=6, batch_size=1, shuffle=False,
            passes=[Pass("a", ("a",)), Pass("b", ("b",))], early_exit=rule,
        )  # fmt: skip
        return tiny_run(stage, model=Two())

    whole = run()
    assert quietly(whole, tmp_path / "whole").total_steps == 4  # the gauge of epoch 1 is (9 + 1) / 2
    cut(run(), tmp_path / "cut", at=4)
    again = run()
    assert quietly(again, tmp_path / "cut").total_steps == 4
    assert equal(whole, again)


def test_an_example_that_cannot_be_made_is_named_before_the_first_step(tmp_path):
    class Broken(TinyData):
        def __getitem__(self, index):
            if index == 36:
                raise OSError("no such file")
            return super().__getitem__(index)

    with pytest.raises(TrainingError, match="example 36 could not be built: OSError"):
        quietly(tiny_run(tiny_stage(examples=Broken())), tmp_path)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_goes_on_with_another_number_of_workers(tmp_path, workers):
    """How batches are prepared is no part of which run it is: the same batches, the same weights."""
    whole = tiny_run(tiny_stage(), config={"workers": 0, "lr": 1})
    quietly(whole, tmp_path / "whole")
    cut(tiny_run(tiny_stage(), config={"workers": 3, "lr": 1}), tmp_path / "part", at=7)
    resumed = tiny_run(tiny_stage(loader_workers=workers), config={"workers": workers, "lr": 1})
    quietly(resumed, tmp_path / "part")
    assert equal(whole, resumed)
    assert rows(tmp_path / "part") == rows(tmp_path / "whole")
