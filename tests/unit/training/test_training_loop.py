import csv
import itertools
import os
import signal
import sys
from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from training_toys import TinyData, TinyNet, squared_error, stack, tiny_run, tiny_stage

from vidweave.errors import ConfigError, MissingExtraError, TrainingError
from vidweave.nn.numbers import require_finite
from vidweave.training import AdamWSettings, Pass, Schedule, train
from vidweave.training.step import freeze, set_modes


def quietly(run, out, **settings):
    return train(run, out, **{"has_events": False, "has_progress": False, **settings})


def rows(out, stage="only"):
    with (out / "logs" / f"{stage}.csv").open() as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


class BrokenFileError(Exception):
    pass


class Failing:
    """Data that fail at the n-th example asked for."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.data = TinyData()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int):
        self.left -= 1
        if self.left < 0:
            raise BrokenFileError("no such file")
        return self.data[index]


def test_training_lowers_the_loss_and_writes_every_step(tmp_path):
    stage = tiny_stage(steps=150, optimizer=AdamWSettings(lr=5e-2))
    result = quietly(tiny_run(stage, model=nn.Linear(3, 2)), tmp_path)
    log = rows(tmp_path)
    assert [int(row["step"]) for row in log] == list(range(1, 151))
    assert list(log[0]) == ["step", "lr", "loss", "grad_norm", "rmse"]
    assert sum(float(row["loss"]) for row in log[-20:]) < 0.05 * sum(float(row["loss"]) for row in log[:20])
    assert result.total_steps == 150
    assert result.losses == {"only": float(log[-1]["loss"])}


def test_the_first_update_is_adamw_of_torch(tmp_path):
    settings = AdamWSettings(lr=1e-2, weight_decay=0.3, clip_norm=None, no_decay=())
    data = TinyData(5)
    model = nn.Linear(3, 2)
    expected = nn.Linear(3, 2)
    expected.load_state_dict(model.state_dict())
    groups = [{"params": [expected.weight], "weight_decay": 0.3}, {"params": [expected.bias], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-2)
    x, y = stack([data[i] for i in range(5)])
    for _ in range(2):
        optimizer.zero_grad()
        (expected(x) - y).pow(2).mean().backward()
        optimizer.step()
    stage = tiny_stage(examples=data, steps=2, shuffle=False, optimizer=settings, schedule=Schedule("constant"))
    quietly(tiny_run(stage, model=model), tmp_path)
    assert torch.equal(model.weight, expected.weight)
    assert torch.equal(model.bias, expected.bias)


@pytest.mark.parametrize(
    ("threads", "accumulate"),
    [pytest.param(0, 1, marks=pytest.mark.slow), pytest.param(2, 1, marks=pytest.mark.slow), (1, 5)],
)
def test_a_resumed_run_repeats_the_uninterrupted_one_bit_for_bit(tmp_path, threads, accumulate):
    def stages(examples):
        passes = (Pass("tower", ("tower.*",)), Pass("head", ("head.*",)))
        shared = {"loader_threads": threads, "accumulate": accumulate, "objective": _no_norm}
        first = tiny_stage(name="first", steps=9, **shared)
        return first, tiny_stage(name="second", steps=11, examples=examples, passes=passes, **shared)

    def _no_norm(model, batch):
        model.tower[1].eval()  # micro-batches of one have no variance
        return squared_error(model, batch)

    whole = tiny_run(*stages(TinyData()))
    quietly(whole, tmp_path / "whole")
    with pytest.raises(TrainingError, match="no such file"):
        quietly(tiny_run(*stages(Failing(38))), tmp_path / "cut", checkpoint_every=3)
    torch.rand(17)  # generators that stand elsewhere change nothing
    cut = tiny_run(*stages(TinyData()))
    quietly(cut, tmp_path / "cut", checkpoint_every=3)
    for stage in ("first", "second"):
        assert rows(tmp_path / "cut", stage) == rows(tmp_path / "whole", stage)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, cut.model.state_dict()[name]), name


def test_a_finished_run_is_not_trained_again(tmp_path):
    run = tiny_run(finish=lambda model, out: (out / "done").write_text("x"))
    assert quietly(run, tmp_path).finish == 1
    before = {name: p.clone() for name, p in run.model.named_parameters()}
    again = tiny_run(finish=lambda model, out: 5)
    result = quietly(again, tmp_path)
    assert (result.finish, result.losses, result.total_steps) == (5, {}, 12)
    assert all(torch.equal(p, before[name]) for name, p in again.model.named_parameters())


def test_another_recipe_does_not_resume(tmp_path):
    quietly(tiny_run(), tmp_path)
    with pytest.raises(TrainingError, match=r"belongs to another recipe: stages.only.batch_size was 5, is 6"):
        quietly(tiny_run(tiny_stage(batch_size=6)), tmp_path)
    with pytest.raises(TrainingError, match=r"already holds checkpoints; resume, or train into another folder"):
        quietly(tiny_run(), tmp_path, resume=False)


def test_other_data_do_not_resume(tmp_path):
    with pytest.raises(TrainingError, match="could not be built"):
        quietly(tiny_run(tiny_stage(examples=Failing(22))), tmp_path, checkpoint_every=2)
    with pytest.raises(TrainingError, match="the data changed"):
        quietly(tiny_run(tiny_stage(examples=TinyData(36))), tmp_path)


def test_frozen_parameters_neither_move_nor_hold_gradients(tmp_path):
    run = tiny_run(tiny_stage(passes=(Pass("head", ("head.*",)),)))
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    seen = []

    def watch(model, batch):
        seen.append((model.tower.training, model.tower[2].training, model.drop.training, model.head.training))
        return squared_error(model, batch)

    run.stages[0].__dict__["objective"] = watch
    quietly(run, tmp_path)
    assert set(seen) == {(False, False, True, True)}
    changed = {name for name, tensor in run.model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"head.weight", "head.bias"}
    assert {name for name, p in run.model.named_parameters() if p.requires_grad} == {"head.weight", "head.bias"}
    assert all(p.grad is None for p in run.model.parameters())


def test_a_pass_leaves_the_others_without_momentum_or_decay(tmp_path):
    """With gradients of zero instead of None, decay and momentum would move the tower in the pass of the head."""
    moves = []

    def watch(model, batch):
        moves.append({name: p.detach().clone() for name, p in model.named_parameters()})
        return squared_error(model, batch)

    passes = (Pass("tower", ("tower.*",)), Pass("head", ("head.*",)))
    run = tiny_run(
        tiny_stage(objective=watch, passes=passes, steps=4, optimizer=AdamWSettings(lr=0.1, weight_decay=0.5))
    )
    quietly(run, tmp_path)
    for i, (before, after) in enumerate(pairwise(moves)):
        moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
        assert moved == ({"tower"} if i % 2 == 0 else {"head"})
    assert all(p.requires_grad for p in run.model.parameters())
    log = rows(tmp_path)
    assert float(log[0]["loss"]) == (float(log[0]["tower/loss"]) + float(log[0]["head/loss"])) / 2


def test_accumulating_equals_one_big_batch(tmp_path):
    models = []
    for accumulate in (1, 2):
        run = tiny_run(tiny_stage(batch_size=6, accumulate=accumulate, steps=3), model=nn.Linear(3, 2))
        run.model.load_state_dict({"weight": torch.ones(2, 3), "bias": torch.zeros(2)})
        quietly(run, tmp_path / str(accumulate))
        models.append(run.model)
    assert torch.allclose(models[0].weight, models[1].weight, atol=1e-6)  # the sum is taken in another order


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path, value):
    def breaks(model, batch):
        breaks.calls += 1
        losses = squared_error(model, batch)
        return {"loss": losses["loss"] * (value if breaks.calls == 8 else 1.0)}

    breaks.calls = 0
    with pytest.raises(
        TrainingError,
        match=rf"step 8 of stage 'only': loss is {value}.* in pass 'all'; the last good checkpoint is .*006",
    ):
        quietly(tiny_run(tiny_stage(objective=breaks)), tmp_path, checkpoint_every=3)
    breaks.calls = 100
    assert quietly(tiny_run(tiny_stage(objective=breaks)), tmp_path).total_steps == 12


def test_numbers_that_are_not_finite_inside_the_model_are_reported_with_stage_and_step(tmp_path):
    def breaks(model, batch):
        require_finite("features of stream {part!r}", {"rgb": (torch.tensor([1.0, torch.nan]), None)})

    message = (
        r"step 1 of stage 'only': features of stream 'rgb' hold NaN .*1 of 2 float32.*; there is no checkpoint yet"
    )
    with pytest.raises(TrainingError, match=message):
        quietly(tiny_run(tiny_stage(objective=breaks)), tmp_path)


def test_running_out_of_memory_says_what_to_change(tmp_path):
    def hungry(model, batch):
        raise torch.OutOfMemoryError("tried to allocate 3 GiB")

    with pytest.raises(
        TrainingError,
        match=r"step 1 of stage 'only': out of memory with batch_size 5 in 1 micro-batches on 1 .*raise accumulate",
    ):
        quietly(tiny_run(tiny_stage(objective=hungry)), tmp_path)


def test_other_errors_of_the_model_pass_through(tmp_path):
    def wrong(model, batch):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        quietly(tiny_run(tiny_stage(objective=wrong)), tmp_path)


@pytest.mark.parametrize("threads", [0, 2])
def test_an_example_that_fails_is_named(tmp_path, threads):
    with pytest.raises(
        TrainingError, match=r"step \d+ of stage 'only': example \d+ could not be built: BrokenFileError"
    ):
        quietly(tiny_run(tiny_stage(examples=Failing(20), loader_threads=threads)), tmp_path)


def test_a_collate_that_fails_names_the_examples(tmp_path):
    def refuse(examples):
        raise ValueError("unequal lengths")

    with pytest.raises(TrainingError, match=r"examples \d+, .* do not collate: ValueError\('unequal lengths'\)"):
        quietly(tiny_run(tiny_stage(collate=refuse)), tmp_path)


def test_a_loss_without_gradient_is_reported(tmp_path):
    def detached(model, batch):
        return {"loss": squared_error(model, batch)["loss"].detach()}

    with pytest.raises(TrainingError, match="the loss depends on no trainable parameter; check the passes"):
        quietly(tiny_run(tiny_stage(objective=detached)), tmp_path)


def test_an_objective_with_parameters_is_refused(tmp_path):
    class Weighted(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

    with pytest.raises(TrainingError, match="objective of stage 'only' holds parameters; put them into the model"):
        quietly(tiny_run(tiny_stage(objective=Weighted())), tmp_path)


def test_examples_may_be_made_from_the_model_when_the_stage_begins(tmp_path):
    asked = []

    def features(model):
        asked.append((model.training, torch.is_grad_enabled(), float(model.head.weight.detach().sum())))
        return TinyData(11)

    run = tiny_run(tiny_stage(name="first"), tiny_stage(name="second", examples=features))
    start = float(run.model.head.weight.detach().sum())
    quietly(run, tmp_path)
    assert [a[:2] for a in asked] == [(False, False)]
    assert asked[0][2] != start


def test_evaluation_is_logged_and_disturbs_nothing(tmp_path):
    def evaluate(model, step):
        assert not model.training
        assert not torch.is_grad_enabled()
        torch.rand(3)
        return {"score": step / 7}

    result = quietly(tiny_run(tiny_stage(evaluate=evaluate, evaluate_every=5)), tmp_path / "with")
    quietly(tiny_run(), tmp_path / "without")
    assert rows(tmp_path / "with") == rows(tmp_path / "without")
    assert [(r["step"], float(r["score"])) for r in rows(tmp_path / "with", "only.metrics")] == [
        ("5", 5 / 7),
        ("10", 10 / 7),
        ("12", 12 / 7),
    ]
    assert result.metrics == {"only": {"score": 12 / 7}}


def test_a_budget_ends_each_stage_and_still_finishes(tmp_path, monkeypatch):
    ticks = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: next(ticks) * 0.01)  # the same on every machine
    monkeypatch.setattr("vidweave.training.clock.time", clock)
    stages = [
        tiny_stage(name=name, steps=10**6, evaluate=lambda model, step: {"at": step}) for name in ("first", "second")
    ]
    result = quietly(tiny_run(*stages, finish=lambda model, out: "done"), tmp_path, budget_seconds=1.0)
    assert result.finish == "done"
    assert result.elapsed_seconds == pytest.approx(1.0, abs=0.1)
    for name in ("first", "second"):
        log = rows(tmp_path, name)
        assert 5 < len(log) < 10**6
        assert float(log[-1]["lr"]) < 0.3 * float(log[0]["lr"])  # the schedule followed the time
    assert set(result.metrics) == {"first", "second"}


def test_bf16_computes_the_objective_under_autocast(tmp_path):
    seen = []

    def watch(model, batch):
        seen.append(model(batch[0]).dtype)
        return squared_error(model, batch)

    run = tiny_run(tiny_stage(objective=watch, precision="bf16-mixed", steps=2))
    quietly(run, tmp_path)
    assert set(seen) == {torch.bfloat16}
    assert run.model.head.weight.dtype == torch.float32


@dataclass(frozen=True)
class _Carrier:
    x: torch.Tensor
    y: torch.Tensor

    def to(self, device):
        return _Carrier(self.x.to(device), self.y.to(device))


def test_frozen_dataclasses_may_be_batches(tmp_path):
    def objective(model, batch):
        assert isinstance(batch, _Carrier)
        return squared_error(model, (batch.x, batch.y))

    quietly(tiny_run(tiny_stage(objective=objective, collate=lambda e: _Carrier(*stack(e)))), tmp_path)


def test_sigterm_saves_a_checkpoint_and_ends_with_143(tmp_path):
    def stopping(model, batch):
        stopping.calls += 1
        if stopping.calls == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return squared_error(model, batch)

    stopping.calls = 0
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        quietly(tiny_run(tiny_stage(objective=stopping)), tmp_path / "cut")
    assert stop.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert [p.name for p in (tmp_path / "cut" / "checkpoints").iterdir()] == ["000-000000005"]
    quietly(tiny_run(tiny_stage(objective=stopping)), tmp_path / "cut")
    quietly(tiny_run(tiny_stage(objective=stopping)), tmp_path / "whole")
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")


def test_control_c_saves_a_checkpoint(tmp_path):
    def stopping(model, batch):
        os.kill(os.getpid(), signal.SIGINT)
        return squared_error(model, batch)

    with pytest.raises(KeyboardInterrupt, match="stopped after step 1 of stage 'only'; run again to resume"):
        quietly(tiny_run(tiny_stage(objective=stopping)), tmp_path)
    assert (tmp_path / "checkpoints" / "000-000000001").is_dir()


def test_two_runs_do_not_share_a_folder(tmp_path):
    def nested(model, batch):
        quietly(tiny_run(), tmp_path)
        return squared_error(model, batch)

    with pytest.raises(TrainingError, match=r"another process trains into .*; wait for it, or use another folder"):
        quietly(tiny_run(tiny_stage(objective=nested)), tmp_path)


def test_without_fabric_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(
        MissingExtraError, match=r"training needs lightning-fabric; install it with: pip install 'vidweave\[train\]'"
    ):
        quietly(tiny_run(), tmp_path)


def test_impossible_settings_are_reported(tmp_path):
    with pytest.raises(ConfigError, match="checkpoint_every and log_every must be at least 1, got 0 and 1"):
        quietly(tiny_run(), tmp_path, checkpoint_every=0)
    with pytest.raises(TrainingError, match=r"cannot train on 1 device\(s\) of 'abacus' with 'auto'"):
        quietly(tiny_run(), tmp_path, accelerator="abacus")


def test_events_and_progress_are_written(tmp_path, capsys):
    train(tiny_run(tiny_stage(evaluate=lambda model, step: {"score": 0.5})), tmp_path, has_events=True)
    assert list((tmp_path / "logs").glob("events.out.tfevents*"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "stage only: 58 of 58 parameters are trainable, in 6 tensors" in captured.err
    assert "only step 12: score 0.5" in captured.err


def test_trainable_parameters_are_logged(tmp_path, caplog):
    with caplog.at_level("INFO", logger="vidweave.training"):
        quietly(tiny_run(tiny_stage(passes=(Pass("head", ("head.*",)),))), tmp_path)
    assert "stage only, pass head trains head.*" in caplog.text
    assert (tmp_path / "logs" / "only.trainable.txt").read_text() == "head\thead.weight\nhead\thead.bias\n"


def test_modes_and_freezing():
    model = TinyNet()
    freeze(model, {"tower.0.bias"})
    set_modes(model.eval())
    assert [m.training for m in (model, model.tower, model.tower[1], model.drop, model.head)] == [
        True,
        True,
        False,
        True,
        False,
    ]
