"""Means over a whole step: however a batch is split over micro-batches and processes, the gradient is the same."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from training_toys import tiny_stage

from vidweave.errors import TrainingError
from vidweave.training import AdamWSettings, WeightedSum
from vidweave.training.batches import MicroBatch
from vidweave.training.engine import start_engine
from vidweave.training.shares import step_shares
from vidweave.training.step import StageStep
from vidweave.types import MeanOver

ITEMS, TOKENS = 6, 5


class Tokens:
    """A mean over tokens, and beside it one over those of class 0; examples have 0 to 5 tokens."""

    def means(self, batch):
        labels = batch[1]
        return {"all": MeanOver(int((labels >= 0).sum())), "zero": MeanOver(int((labels == 0).sum()), 0.3)}

    def __call__(self, model, batch):
        x, labels = batch
        logits, labels = model(x).flatten(0, 1), labels.flatten()
        zero = labels.masked_fill(labels != 0, -100)
        parts = {"all": functional.cross_entropy(logits, labels), "zero": functional.cross_entropy(logits, zero)}
        return {"loss": parts["all"] + 0.3 * parts["zero"], **parts}


def data():
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(ITEMS, TOKENS, 3, generator=generator)
    labels = torch.randint(0, 2, (ITEMS, TOKENS), generator=generator)
    lengths = torch.tensor([1, 5, 2, 3, 1, 4])[:, None]
    return x, labels.masked_fill(torch.arange(TOKENS) >= lengths, -100)


def micro_batches(sizes):
    x, labels = data()
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [
        MicroBatch((x[start : start + size], labels[start : start + size]), tuple(range(start, start + size)))
        for start, size in zip(starts, sizes, strict=True)
    ]


def model():
    torch.manual_seed(1)
    return nn.Linear(3, 2)


def step_of(sizes, objective, **stage):
    """The row and the gradients of one step on micro-batches of these sizes."""
    fabric = start_engine(accelerator="cpu", devices=1, strategy="auto")
    net = model()
    made = StageStep(fabric, net, tiny_stage(objective=objective, optimizer=AdamWSettings(clip_norm=None), **stage))
    kept = {}
    made.raw_optimizer.register_step_pre_hook(
        lambda *_: kept.update({name: p.grad.clone() for name, p in net.named_parameters()})
    )
    row = made(micro_batches(sizes), 1.0)
    return row, kept


SUM = WeightedSum({"tokens": (2.0, Tokens()), "plain": (0.5, lambda m, b: {"loss": m(b[0]).square().mean()})})


@pytest.mark.parametrize("objective", [Tokens(), SUM], ids=["tokens", "sum"])
@pytest.mark.parametrize("sizes", [(2, 2, 2), (3, 3), (1, 5), (4, 1, 1)])
def test_micro_batches_have_the_gradient_of_one_batch(objective, sizes):
    whole, expected = step_of((ITEMS,), objective)
    row, grads = step_of(sizes, objective)
    for name, grad in expected.items():
        torch.testing.assert_close(grads[name], grad, rtol=1e-6, atol=1e-6)
    whole.pop("tokens", None)  # a sum of means is no mean: it is logged by example
    assert {name: row[name] for name in whole} == pytest.approx(whole, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, ITEMS - 1), max_size=4, unique=True), world=st.integers(1, 3))
def test_processes_have_the_gradient_of_one(cuts, world):
    """Without processes: the gradient that each would have, averaged as DDP does."""
    edges = [0, *sorted(cuts), ITEMS]
    parts = micro_batches([b - a for a, b in pairwise(edges)])
    ranks = [[part for part in parts if part.indices[0] % world == rank] for rank in range(world)]
    if not all(ranks):
        return
    net, objective = model(), Tokens()
    per_rank = []
    for own in ranks:
        step_shares(objective, own, world, lambda numbers: per_rank.append(numbers) or numbers)
    totals = [sum(column) for column in zip(*per_rank, strict=True)]
    loss = sum(
        share.loss(objective(net, part.batch)) / world
        for own in ranks
        for share, part in zip(step_shares(objective, own, world, lambda _: totals), own, strict=True)
    )
    expected = torch.autograd.grad(objective(net, data())["loss"], list(net.parameters()))
    for grad, right in zip(torch.autograd.grad(loss, list(net.parameters())), expected, strict=True):
        torch.testing.assert_close(grad, right, rtol=1e-6, atol=1e-6)


def test_examples_have_equal_weight_where_an_objective_declares_nothing():
    def objective(net, batch):
        return {"loss": net(batch[0]).square().mean(), "size": torch.tensor(float(len(batch[0])))}

    row, grads = step_of((1, 5), objective)
    _, expected = step_of((ITEMS,), objective)
    torch.testing.assert_close(grads["weight"], expected["weight"], rtol=1e-6, atol=1e-6)
    assert row["size"] == pytest.approx((1 * 1 + 5 * 5) / 6)


def test_one_batch_is_the_objective_itself():
    """Not a product with 1: the same bits as the loss that the objective returned."""
    row, _ = step_of((ITEMS,), Tokens())
    assert row["loss"] == float(Tokens()(model(), data())["loss"].detach())


def test_a_term_without_anything_to_average_over_is_left_out():
    x, labels = data()
    nothing = (x, labels.masked_fill(labels == 0, -100))
    assert Tokens()(model(), nothing)["loss"].isnan()
    (share,) = step_shares(Tokens(), [MicroBatch(nothing, (0, 1))], 1, lambda numbers: numbers)
    losses = Tokens()(model(), nothing)
    assert float(share.loss(losses).detach()) == float(losses["all"].detach())


def test_declarations_that_do_not_fit_are_refused():
    class Wrong(Tokens):
        def means(self, batch):
            return {"al": MeanOver(2)} if len(batch[0]) > 1 else {}

    with pytest.raises(TrainingError, match="declares a mean of 'al', but returned loss, all, zero"):
        step_of((2, 4), Wrong())
    with pytest.raises(TrainingError, match="declares other terms for each batch; declare a count of 0"):
        step_of((2, 1), Wrong())
