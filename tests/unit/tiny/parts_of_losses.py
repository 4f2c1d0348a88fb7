"""How the tests of objectives compare the loss of a step with those of its micro-batches."""

import torch

from vidweave.training.batches import MicroBatch
from vidweave.training.shares import step_shares


def assert_parts_make_the_whole(objective, model, whole, parts: list[tuple[object, int]]) -> None:
    """The loss of `whole` is that of its `parts` (batch, number of examples), and their plain mean is another."""
    micro_batches = [MicroBatch(batch, tuple(range(size))) for batch, size in parts]
    shares = step_shares(objective, micro_batches, 1, lambda numbers: numbers)
    losses = [objective(model, micro.batch) for micro in micro_batches]
    expected = objective(model, whole)["loss"]
    got = sum(share.loss(loss) for share, loss in zip(shares, losses, strict=True))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    plain = sum(loss["loss"] * size for loss, (_, size) in zip(losses, parts, strict=True))
    assert abs(float(plain / sum(size for _, size in parts) - expected)) > 1e-4, "the parts are too alike to tell"
