"""What a step does besides the loss: clipping, decay, randomness, and refusing what is not finite."""

import json
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import nn
from training_toys import TinyData, TinyNet, squared_error, stack, tiny_run, tiny_stage

from vidweave.errors import TrainingError
from vidweave.training import AdamWSettings, HasStream, Pass, Schedule, train
from vidweave.training.batches import MicroBatch
from vidweave.training.early_exit import EarlyExit, ExitState
from vidweave.training.engine import start_engine
from vidweave.training.health import check_finite, check_trainable_dtypes
from vidweave.training.sampler import Sampler
from vidweave.training.step import StageStep, make_optimizer, seed_step


def quietly(run, out, **settings):
    return train(run, out, **{"has_events": False, "has_progress": False, **settings})


def made_step(model, stage):
    return StageStep(start_engine(accelerator="cpu", devices=1, strategy="auto"), model, stage)


def micro(*indices, data=None):
    return MicroBatch(stack([(data or TinyData())[i] for i in indices]), indices)


def gradients_of_step(optimizer):
    """The norms that the optimizer sees."""
    norms = []

    def note(result, *_):
        grads = [p.grad.flatten() for group in result.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.cat(grads).norm()))

    optimizer.register_step_pre_hook(note)
    return norms


# -- clipping, decay, the optimizer ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "seen"), [(0.01, 0.01), (0.5, 0.5), (None, None)])
def test_gradients_are_clipped_to_the_norm_and_logged_as_they_were(limit, seen):
    torch.manual_seed(0)
    step = made_step(nn.Linear(3, 2), tiny_stage(optimizer=AdamWSettings(clip_norm=limit)))
    norms = gradients_of_step(step.raw_optimizer)
    row = step([micro(0, 1, 2)], 1.0)
    assert row["grad_norm"] > 0.6
    assert norms == pytest.approx([row["grad_norm"] if seen is None else seen], rel=1e-3)


def test_each_pass_is_clipped_by_its_own_norm():
    torch.manual_seed(0)
    passes = (Pass("weight", ("weight",)), Pass("bias", ("bias",)))
    step = made_step(nn.Linear(3, 2), tiny_stage(passes=passes, optimizer=AdamWSettings(clip_norm=0.25)))
    norms = gradients_of_step(step.raw_optimizer)
    step([micro(0, 1, 2)], 1.0)
    assert norms == pytest.approx([0.25, 0.25], rel=1e-3)


def test_the_gauge_is_measured_before_clipping():
    torch.manual_seed(0)
    rule = EarlyExit(steps_per_epoch=3, measured=("weight",))
    stage = tiny_stage(early_exit=rule, optimizer=AdamWSettings(clip_norm=1e-3))
    net = nn.Linear(3, 2)
    expected = torch.autograd.grad(squared_error(net, micro(0, 1, 2).batch)["loss"], net.weight)[0].norm()
    assert made_step(net, stage)([micro(0, 1, 2)], 1.0)["gauge"] == pytest.approx(float(expected), rel=1e-5)


def test_the_optimizer_has_the_settings_and_two_groups():
    net = TinyNet()
    settings = AdamWSettings(lr=0.3, betas=(0.7, 0.8), eps=1e-3, weight_decay=0.4)
    optimizer = make_optimizer(dict(net.named_parameters()), settings)
    decaying, spared = optimizer.param_groups
    assert [g["weight_decay"] for g in (decaying, spared)] == [0.4, 0.0]
    for group in (decaying, spared):
        assert (group["lr"], group["betas"], group["eps"]) == (0.3, (0.7, 0.8), 1e-3)
    names = {id(p): name for name, p in net.named_parameters()}
    assert [names[id(p)] for p in decaying["params"]] == ["tower.0.weight", "head.weight"]
    assert {names[id(p)] for p in spared["params"]} == {"tower.0.bias", "tower.1.weight", "tower.1.bias", "head.bias"}


def test_the_learning_rate_reaches_every_group_at_every_step():
    step = made_step(TinyNet(), tiny_stage(optimizer=AdamWSettings(lr=0.2)))
    for factor in (0.5, 0.1):
        assert step([micro(0, 1, 2)], factor)["lr"] == pytest.approx(0.2 * factor)
        assert [group["lr"] for group in step.raw_optimizer.param_groups] == pytest.approx([0.2 * factor] * 2)


def test_norms_do_not_decay_and_the_modality_normals_does():
    settings = AdamWSettings()
    assert not any(settings.decays(name, 2) for name in ("a.norm1.weight", "x.layer_norm.weight", "x.norm.w", "b.bias"))
    assert settings.decays("connector.ports.normals.query_tokens", 3)
    assert not settings.decays("connector.ports.normals.input_norm.weight", 2)


# -- randomness --------------------------------------------------------------------------------------------------------


def test_every_step_stage_rank_and_seed_has_its_own_randomness():
    def drawn(*place):
        seed_step(*place)
        return tuple(torch.rand(3).tolist()), random.random(), float(np.random.rand())

    places = [
        (seed, stage, step, rank) for seed in (1, 2) for stage in (0, 1) for step in (0, 1, 10) for rank in (0, 1)
    ]
    draws = [drawn(*place) for place in places]
    for column in zip(*draws, strict=True):
        assert len(set(column)) == len(places)
    assert drawn(*places[5]) == draws[5]


def masks_of(out, *, rank=0, monkeypatch=None):
    """Per stage and step, the dropout mask that the model drew and the order of the examples."""
    if rank:
        monkeypatch.setattr(Fabric, "global_rank", property(lambda fabric: rank))
    seen = {}

    class Watched(TinyData):
        def __init__(self, name):
            super().__init__(5)
            self.name = name

    def objective(name):
        def watch(model, batch):
            mask = torch.nn.functional.dropout(torch.ones(40), 0.5)
            seen.setdefault(name, []).append((tuple(mask.tolist()), tuple(batch[0][:, 0].tolist())))
            return squared_error(model, batch)

        return watch

    stages = [tiny_stage(name=n, objective=objective(n), examples=Watched(n), steps=4) for n in ("first", "second")]
    quietly(tiny_run(*stages), out)
    return seen


@pytest.mark.slow
def test_masks_and_orders_differ_by_step_stage_epoch_and_rank(tmp_path, monkeypatch):
    """One epoch is one step here."""
    seen = masks_of(tmp_path / "zero")
    masks, orders = zip(*(seen["first"] + seen["second"]), strict=True)
    assert len(set(masks)) == 8
    assert len(set(orders)) == 8
    assert all(sorted(order) == sorted(orders[0]) for order in orders)
    other = masks_of(tmp_path / "one", rank=1, monkeypatch=monkeypatch)
    assert not set(masks) & {mask for name in other for mask, _ in other[name]}


def test_a_sampler_gives_every_epoch_and_seed_its_own_order():
    orders = {
        tuple(Sampler(size=11, batch_size=11, seed=seed).batch(epoch)[0]) for seed in range(3) for epoch in range(4)
    }
    assert len(orders) == 12


def test_gauges_survive_json_in_the_middle_of_an_epoch():
    rule = EarlyExit(steps_per_epoch=2, min_epoch=1, temperature=1.5)
    whole = ExitState(rule, ["a", "b"])
    for step, (a, b) in enumerate([(1.0, 1.0), (1.0, 1.0), (9.0, 1.0)]):
        whole.observe({"a": a, "b": b}, step)
    resumed = ExitState(rule, ["a", "b"], json.loads(json.dumps(whole.to_dict())))
    for state in (whole, resumed):
        assert state.observe({"a": 1.0, "b": 1.0}, 3) == ["a"]
    assert resumed.to_dict() == whole.to_dict()


# -- passes without data -----------------------------------------------------------------------------------------------


def test_a_pass_without_data_is_skipped_and_the_loss_is_the_mean_of_the_others():
    torch.manual_seed(0)
    passes = (Pass("weight", ("weight",)), Pass("bias", ("bias",), lambda batch: len(batch[0]) > 1))
    net = nn.Linear(3, 2)
    step = made_step(net, tiny_stage(passes=passes, optimizer=AdamWSettings(lr=0.1, weight_decay=0.5, no_decay=())))
    both = step([micro(0, 1)], 1.0)
    assert both["loss"] == pytest.approx((both["weight/loss"] + both["bias/loss"]) / 2)
    before = net.bias.detach().clone(), net.weight.detach().clone()
    one = step([micro(2)], 1.0)
    assert list(one) == list(both)
    assert one["loss"] == one["weight/loss"]
    assert np.isnan(one["bias/loss"])
    assert torch.equal(net.bias, before[0])
    assert not torch.equal(net.weight, before[1])
    assert not np.isnan(step([micro(2), micro(3, 4)], 1.0)["bias/loss"])  # one micro-batch with data is enough


def test_a_step_in_which_no_pass_has_data_leaves_no_row(tmp_path):
    run = tiny_run(tiny_stage(steps=3, passes=(Pass("all", ("*",), lambda batch: False),)))
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    result = quietly(run, tmp_path)
    assert (result.total_steps, result.losses) == (3, {})
    assert not (tmp_path / "logs" / "only.csv").exists()
    assert all(torch.equal(p, before[name]) for name, p in run.model.named_parameters())


def test_an_epoch_without_data_leaves_no_gauge():
    state = ExitState(EarlyExit(steps_per_epoch=2), ["a", "b"])
    for step in range(2):
        assert state.observe({"a": 1.0}, step) == []
    assert state.history == {"a": [1.0], "b": []}


def test_has_stream():
    streams = {"audio": SimpleNamespace(item=torch.zeros(2)), "depth": SimpleNamespace(item=torch.zeros(0))}
    batch = SimpleNamespace(streams=streams)
    assert [HasStream(name)(batch) for name in ("audio", "depth", "video")] == [True, False, False]


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_names_its_examples_and_precision(tmp_path):
    class Poisoned(TinyData):
        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            return (x * float("nan") if index == 9 else x), y

    stage = tiny_stage(examples=Poisoned(12), batch_size=6, accumulate=3, shuffle=False, schedule=Schedule("constant"))
    with pytest.raises(
        TrainingError,
        match=r"step 2 of stage 'only': loss is nan, grad_norm is nan on examples 8, 9 in float32 \(check these "
        r"examples, or lower lr or clip_norm\) in pass 'all'; there is no checkpoint yet",
    ):
        quietly(tiny_run(stage, model=nn.Linear(3, 2)), tmp_path)


def test_a_gradient_that_is_not_finite_names_all_examples_of_the_step():
    row = {"loss": 1.0, "grad_norm": float("inf")}
    check_finite({"loss": 1.0, "grad_norm": 2.0}, [1.0], [(1,)], precision="float32", where="pass 'x'")
    with pytest.raises(TrainingError, match=r"^grad_norm is inf on examples 4, 5, 6 in bf16-mixed .* in pass 'x'$"):
        check_finite(row, [1.0, 2.0], [(4, 5), (6,)], precision="bf16-mixed", where="pass 'x'")
    with pytest.raises(TrainingError, match=r"on examples 0, 1, 2, 3, 4, 5, 6, 7, … in"):
        check_finite(row, [1.0], [tuple(range(9))], precision="float32", where="pass 'x'")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_trainable_weights_in_half_precision_are_refused_and_frozen_ones_are_not(tmp_path, dtype):
    net = TinyNet()
    net.head.to(dtype)
    short = str(dtype).removeprefix("torch.")
    with pytest.raises(
        TrainingError,
        match=rf"stage 'only' trains 2 parameters in {short} \(e\.g\. head\.weight\).*load the model with "
        r"dtype='float32' \(or call model\.float\(\)\), and set precision='bf16-mixed'",
    ):
        quietly(tiny_run(model=net), tmp_path)
    check_trainable_dtypes({name: p for name, p in net.named_parameters() if "tower" in name}, "only")
    assert quietly(tiny_run(tiny_stage(precision="bf16-mixed"), model=net.float()), tmp_path).total_steps == 12
