"""Connectors train what is in each quarter of the frame."""

import torch
from parts_of_losses import assert_parts_make_the_whole
from torch import nn

from vidweave.tiny.quarter_labels import QuarterLabels, collate_quarters, quarter_heads
from vidweave.tiny.scenes import QUARTERS, SLOT_CLASSES, quarter_labels, train_scene
from vidweave.types import Blocks


def test_labels_report_each_object_where_it_is():
    for index in range(30):
        scene = train_scene(index)
        labels = quarter_labels(scene)
        names = {name: [classes[i] if i >= 0 else None for i in labels[name]] for name, classes in SLOT_CLASSES.items()}
        info = {(s, c, z, m, h) for s, c, z, m, h in zip(*names.values(), strict=True) if s != "nothing"}
        assert info == {(o.shape, o.colour, o.size, o.motion, o.change) for o in scene.objects}
        assert sum(s == "nothing" for s in names["shape"]) == QUARTERS - len(scene.objects)


def test_the_first_tokens_are_trained_on_the_quarters():
    torch.manual_seed(0)
    root = nn.Module()
    root.quarter_heads = quarter_heads(12)
    labels = collate_quarters([quarter_labels(train_scene(i)) for i in range(6)])
    tokens = nn.Parameter(torch.randn(6, 1, 7, 12))
    optimizer = torch.optim.Adam([tokens, *root.parameters()], lr=0.1)
    zeros = torch.zeros(6, dtype=torch.long)
    objective = QuarterLabels()
    for _ in range(40):
        blocks = {"video": Blocks(tokens, torch.ones(6, 1, 7, dtype=torch.bool), torch.zeros(6, 1, 2), zeros, zeros)}
        parts = objective(root, blocks, labels)
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
    assert parts["right"].item() > 0.99
    assert tokens.grad[:, :, QUARTERS:].abs().max() == 0


@torch.no_grad()
def test_quarter_labels_declare_what_they_average_over():
    torch.manual_seed(0)
    root = nn.Module()
    root.quarter_heads = quarter_heads(12)
    rows = [quarter_labels(train_scene(i)) for i in range(6)]
    tokens, zeros = torch.randn(6, 1, 7, 12), torch.zeros(6, dtype=torch.long)

    class Told(QuarterLabels):  # as recipes use it: a batch is the tokens and the labels
        def means(self, batch):
            return super().means(batch[1])

        def __call__(self, root, batch):
            return super().__call__(root, *batch)

    def batch(part):
        values = tokens[part]
        blocks = Blocks(values, torch.ones(values.shape[:3], dtype=torch.bool), torch.zeros(len(values), 1, 2), zeros[part], zeros[part])  # fmt: skip
        return {"video": blocks}, collate_quarters(rows[part])

    parts = [(batch(slice(0, 1)), 1), (batch(slice(1, 6)), 5)]
    assert_parts_make_the_whole(Told(), root, batch(slice(0, 6)), parts)
