"""Dense labels of long clips: each is read from its own tokens, and classes that are not there cost nothing."""

import torch
from parts_of_losses import assert_parts_make_the_whole
from torch import nn

from vidweave.tiny.long_clips import VISIT_LABELS, LongQuestions
from vidweave.tiny.visit_labels import VisitLabels, collate_visits, visit_heads
from vidweave.types import Blocks

WIDTH = 11


class Root(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.visit_heads = visit_heads(WIDTH)


def look(rows):
    values = torch.randn(rows, 1, 16, WIDTH, generator=torch.Generator().manual_seed(1)).requires_grad_()
    index = torch.arange(rows)
    mask = torch.ones(rows, 1, 16, dtype=torch.bool)
    return values, {"video": Blocks(values, mask, torch.zeros(rows, 1, 2), index, torch.zeros_like(index))}


def test_every_label_moves_its_own_tokens_and_no_other():
    source = LongQuestions(9)
    labels = collate_visits([source[i].labels for i in range(5)])
    for name, (_, (start, end)) in VISIT_LABELS.items():
        values, blocks = look(5)
        VisitLabels()(Root(), blocks, {name: labels[name]})["loss"].backward()
        moved = values.grad[:, 0].abs().sum((0, 2)) > 0
        assert moved[start:end].any()
        assert not moved[:start].any()
        assert not moved[end:].any()


def test_the_loss_is_the_weighted_sum_of_its_parts():
    source, root = LongQuestions(9), Root()
    labels = collate_visits([source[i].labels for i in range(5)])
    result = VisitLabels(weights={"answer": 3.0})(root, look(5)[1], labels)
    total = sum(part * (3.0 if name == "answer" else 1.0) for name, part in result.items() if name != "loss")
    torch.testing.assert_close(result["loss"], total)
    silent = {"rank of colour": torch.full((5, 6), -100), "answer": labels["answer"]}
    silent["rank of colour"][0, 0] = 2
    logits = root.visit_heads["rank of colour"](look(5)[1]["video"].values[:1, 0, 0])
    expected = nn.functional.cross_entropy(logits, torch.tensor([2]))
    got = VisitLabels()(root, look(5)[1], silent)["rank_of_colour"]
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_visit_labels_declare_what_they_average_over():
    source = LongQuestions(9)
    labels = collate_visits([source[i].labels for i in range(5)])
    labels["rank of colour"][0, 1:] = -100

    class Told(VisitLabels):  # as recipes use it: a batch is the tokens and the labels
        def means(self, batch):
            return super().means(batch[1])

        def __call__(self, root, batch):
            return super().__call__(root, *batch)

    def rows(part):
        blocks = look(5)[1]["video"]
        held = Blocks(*(getattr(blocks, f)[part] for f in ("values", "mask", "seconds", "item", "scene")))
        return {"video": held}, {name: value[part] for name, value in labels.items()}

    parts = [(rows(slice(0, 1)), 1), (rows(slice(1, 5)), 4)]
    assert_parts_make_the_whole(Told(), Root(), rows(slice(0, 5)), parts)
