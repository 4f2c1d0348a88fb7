"""Passes that stop when their gradients jump: decided the same after a kill, and by the mean of an epoch or its last step."""

import json

import pytest
import torch
from torch import nn
from training_toys import tiny_run, tiny_stage

from vidweave.errors import ConfigError, TrainingError
from vidweave.training import EarlyExit, Pass, train
from vidweave.training.early_exit import ExitState, has_jumped

RULE = EarlyExit(steps_per_epoch=2, temperature=1.5, min_epoch=2, measured=("*",))


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))


class Pushes:
    """Gradients of `a` jump at step 6; `b` always has the same."""

    def __call__(self, model, batch):
        push = torch.as_tensor(batch[0], dtype=torch.float32)
        return {"loss": (model.a * push).sum() + model.b.sum()}


def stage(**changes):
    passes = [Pass("a", ("a",)), Pass("b", ("b",))]
    pushes = [1.0] * 6 + [9.0] * 6
    settings = {"objective": Pushes(), "examples": pushes, "collate": list, "steps": 12, "batch_size": 1}
    return tiny_stage(**{**settings, "shuffle": False, "passes": passes, "early_exit": RULE, **changes})


def run(**changes):
    return tiny_run(stage(**changes), model=Two())


def quietly(run, out, **settings):
    return train(run, out, **{"has_events": False, "has_progress": False, **settings})


def test_has_jumped():
    assert not has_jumped([1.0], 9.0, temperature=1.5, min_epoch=2)
    assert has_jumped([1.0, 1.0], 1.6, temperature=1.5, min_epoch=2)
    assert not has_jumped([1.0, 1.0], 1.5, temperature=1.5, min_epoch=2)


@pytest.mark.parametrize(("statistic", "gauge"), [("epoch_mean", 2.0), ("last", 3.0)])
def test_the_gauge_of_an_epoch(statistic, gauge):
    state = ExitState(EarlyExit(steps_per_epoch=2, statistic=statistic), ["a"])
    state.observe({"a": 1.0}, 0)
    state.observe({"a": 3.0}, 1)
    assert state.history == {"a": [gauge]}


def test_each_epoch_has_its_own_steps():
    state = ExitState(EarlyExit(steps_per_epoch=2), ["a"])
    for step, norm in enumerate([1.0, 3.0, 5.0, 7.0]):
        state.observe({"a": norm}, step)
    assert state.history == {"a": [2.0, 6.0]}


def test_a_pass_leaves_and_the_other_goes_on(tmp_path):
    done = run()
    quietly(done, tmp_path)
    log = [row.split(",") for row in (tmp_path / "logs" / "only.csv").read_text().splitlines()]
    a, b = (log[0].index(f"{name}/gauge") for name in "ab")
    assert [row[a] != "" for row in log[1:]] == [True] * 8 + [False] * 4  # epoch 3 is the first with a jump
    assert all(row[b] != "" for row in log[1:])


def test_a_resumed_run_decides_the_same(tmp_path):
    whole, torn = run(), run()
    quietly(whole, tmp_path / "whole")

    class StopError(Exception):
        pass

    def stop(model, step):
        if step == 7:
            raise StopError
        return {}

    with pytest.raises(StopError):
        quietly(run(evaluate=stop, evaluate_every=1), tmp_path / "torn", checkpoint_every=3)
    quietly(torn, tmp_path / "torn", checkpoint_every=3)
    assert torch.equal(whole.model.a, torn.model.a)
    assert torch.equal(whole.model.b, torn.model.b)


def test_the_stage_ends_when_all_have_left(tmp_path):
    class Both:
        def __call__(self, model, batch):
            return {"loss": ((model.a + model.b) * torch.as_tensor(batch[0], dtype=torch.float32)).sum()}

    result = quietly(run(objective=Both()), tmp_path)
    assert result.total_steps == 8


def test_the_checkpoint_knows(tmp_path):
    quietly(run(), tmp_path, checkpoint_every=9)
    known = json.loads((tmp_path / "checkpoints" / "000-000000009" / "state.json").read_text())["early_exit"]
    assert known["exits"] == {"a": 3}


@pytest.mark.parametrize("changes", [{"steps_per_epoch": 0}, {"temperature": 0.0}, {"min_epoch": 0}])
def test_settings_check_themselves(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        EarlyExit(**{"steps_per_epoch": 1, **changes})


def test_faults(tmp_path):
    with pytest.raises(ConfigError, match="'epoch_mean' or 'last', got 'mean'"):
        EarlyExit(steps_per_epoch=1, statistic="mean")  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match=r"pattern '\*\.adapter\.\*' in early exit of pass 'a'"):
        quietly(run(early_exit=EarlyExit(steps_per_epoch=1)), tmp_path)
    with pytest.raises(TrainingError, match=r"about the passes \['x'\]"):
        ExitState(RULE, ["a"], {"history": {"x": []}, "exits": {}, "steps": {}})
