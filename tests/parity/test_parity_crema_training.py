"""CREMA's schedule, sequential training and early exit against the original's recorded run."""

import json

import pytest
from goldens import close, golden_files, load_only
from torch import nn

from vidweave.training import AdamWSettings, EarlyExit, Pass, Run, Schedule, Stage, train
from vidweave.training.checkpoint import Checkpoints
from vidweave.training.early_exit import ExitState

SYSTEM = "crema"


def read(pattern):
    (file,) = golden_files(SYSTEM, pattern)
    return json.loads(file.read_text())


def schedule(settings, steps_per_epoch):
    init = settings["init_lr"]
    return Schedule(
        "epochs",
        num_epochs=settings["max_epoch"],
        steps_per_epoch=steps_per_epoch,
        warmup_steps=settings["warmup_steps"],
        min_lr_ratio=settings["min_lr"] / init,
        start_ratio=settings["warmup_start_lr"] / init,
    )


def test_learning_rates():
    for case in read("lr_schedule*.json"):
        longest = max(step for _, step, _ in case["epoch_step_lr"]) + 1
        rule = schedule(case["kw"], longest)
        for epoch, step, rate in case["epoch_step_lr"]:
            assert case["kw"]["init_lr"] * rule.factor(epoch * longest + step, 0.0) == pytest.approx(rate, abs=1e-12)


def test_early_exit_decisions():
    for case in read("early_exit_decisions*.json"):
        rule = EarlyExit(steps_per_epoch=1, temperature=case["temperature"], min_epoch=case["min_epoch"])
        state = ExitState(rule, ["one"])
        for epoch, norm in enumerate(case["epoch_grad_norms"]):
            if "one" in state.exits:
                break
            state.observe({"one": norm}, epoch)
        assert state.exits.get("one", -1) == case["exit_after_epoch"]


class Recorded(nn.Module):
    """The golden's parameters under our separators; the gradients of its recorded iterations are prescribed."""

    def __init__(self, initial):
        super().__init__()
        self.values = nn.ParameterDict({key.replace(".", "/"): nn.Parameter(v.clone()) for key, v in initial.items()})


class Prescribed:
    """A loss whose gradient of each parameter is the recorded one."""

    def __call__(self, model, batch):
        (grads,) = batch
        return {"loss": sum((p * grads[name]).sum() for name, p in model.values.items() if p.requires_grad)}


def test_sequential_training_with_early_exit(tmp_path):
    recorded, tensors = read("sequential_training*.json"), load_only(SYSTEM, "sequential_training*.safetensors")
    initial = {k.removeprefix("init."): v for k, v in tensors.items() if k.startswith("init.")}
    epochs, steps = recorded["epochs"], recorded["iters_per_epoch"]
    batches = [
        {
            k.removeprefix(f"grad.{e}.{i}.").replace(".", "/"): v
            for k, v in tensors.items()
            if k.startswith(f"grad.{e}.{i}.")
        }
        for e in range(epochs)
        for i in range(steps)
    ]
    names = [key.replace(".", "/") for key in initial]
    groups = {m: _pass(names, m) for m in recorded["modalities"]}
    optimizer, lr = recorded["adamw"], recorded["lr"]
    settings = AdamWSettings(
        lr=lr["init_lr"], betas=tuple(optimizer["betas"]), eps=optimizer["eps"], clip_norm=None,
        weight_decay=optimizer["weight_decay"], no_decay=("*bias*", "*ln*", "*bn*"),
    )  # fmt: skip
    model = Recorded(initial)
    decays = {name.removeprefix("values."): settings.decays(name, p.ndim) for name, p in model.named_parameters()}
    for decaying, group in ((True, "decay"), (False, "no_decay")):
        assert all(decays[key.replace(".", "/")] is decaying for key in recorded["param_groups"][group])
    seen = []

    def watch(model_, step):
        if step % steps == 0:
            epoch = step // steps - 1
            for key, value in tensors.items():
                if key.startswith(f"after_epoch.{epoch}."):
                    close(
                        model.values[key.removeprefix(f"after_epoch.{epoch}.").replace(".", "/")].detach(), value, 1e-5
                    )
                    seen.append(key)
        return {}

    stage = Stage(
        name="sequential", objective=Prescribed(), examples=batches, collate=list, steps=epochs * steps, batch_size=1,
        shuffle=False, passes=[Pass(m, tuple(f"values.{n}" for n in group)) for m, group in groups.items()],
        optimizer=settings, schedule=schedule({**lr, "max_epoch": epochs}, steps), evaluate=watch, evaluate_every=1,
        early_exit=EarlyExit(
            steps_per_epoch=steps, temperature=recorded["es_temperature"], statistic="last",
            measured=("*attention*w_[ab]_*",),
        ),
    )  # fmt: skip
    run = Run(name="golden", model=model, stages=[stage])
    train(run, tmp_path, checkpoint_every=1, has_events=False, has_progress=False)
    assert len(seen) == sum(key.startswith("after_epoch.") for key in tensors)
    log = (tmp_path / "logs" / "sequential.csv").read_text().splitlines()
    rates = [float(row.split(",")[log[0].split(",").index("lr")]) for row in log[1:]]
    assert rates == pytest.approx(recorded["lr_per_iteration"], abs=1e-12)
    _check_exits(recorded, tmp_path)
    still = {key for key, requested in recorded["requires_grad_at_end"].items() if requested}
    last = [m for m in recorded["modalities"] if recorded["log"][-1]["exit_epoch"][m] < 0][-1]
    assert {key.replace(".", "/") for key in still} == set(groups[last])


def _pass(names, modality):
    """What the original switches on for a modality, by words inside names; the fusion always."""
    return [name for name in names if f"_{modality}" in name or "fusion" in name]


def _check_exits(recorded, out):
    """The last checkpoint inside the stage knows of every exit but one that the last epoch itself brought."""
    position, *_ = Checkpoints(out / "checkpoints").latest()
    folder = sorted((out / "checkpoints").glob("000-*"))[-1]
    known = json.loads((folder / "state.json").read_text())["early_exit"]
    assert position.stage == 1
    final = recorded["log"][-1]["exit_epoch"]
    assert known["exits"] == {n: epoch for n, epoch in final.items() if 0 <= epoch < recorded["epochs"] - 1}
    for entry in recorded["log"][:-1]:
        for name, values in entry["history"].items():
            until = len(values) if final[name] < 0 else min(len(values), final[name] + 1)
            assert known["history"][name][:until] == pytest.approx(values[:until], abs=1e-5)
