import pytest
import torch
from torch import nn

from vidweave.errors import ShapeError
from vidweave.nn.lora import Lora, RowAdapters

SITE = (0, "query")


def filled(width, out, rank, **changes):
    lora = Lora(width, out, rank, **changes).eval()
    nn.init.normal_(lora.up)
    return lora


def test_a_fresh_one_adds_nothing():
    assert Lora(7, 5, 3)(torch.randn(4, 7)).abs().max() == 0


def test_it_starts_as_peft_does():
    lora = Lora(300, 5, 50)
    assert float(lora.down.detach().abs().max()) == pytest.approx(
        300**-0.5, rel=0.01
    )  # uniform, kaiming with a = sqrt(5)


def test_merged_is_exact():
    torch.manual_seed(0)
    lora, linear, x = filled(7, 5, 3, scale=0.5), nn.Linear(7, 5), torch.randn(4, 7)
    merged = nn.functional.linear(x, lora.merged(linear.weight), linear.bias)
    torch.testing.assert_close(merged, linear(x) + lora(x))


def test_each_row_gets_its_own_and_neighbours_go_with_their_row():
    torch.manual_seed(0)
    linear, a, b = nn.Linear(7, 5), filled(7, 5, 3), filled(7, 5, 2)
    rows = RowAdapters.of([{SITE: a}, {}, {SITE: b}], torch.tensor([2, 0, 0, 1]))
    x = torch.randn(8, 6, 7)  # two neighbours per row
    expected = linear(x) + torch.cat([b(x[:2]), a(x[2:6]), torch.zeros(2, 6, 5)])
    torch.testing.assert_close(rows.add(SITE, x, linear), expected)
    assert torch.equal(rows.add((1, "query"), x, linear), linear(x))
    assert rows.add(SITE, x[:0], linear).shape == (0, 6, 5)


def test_no_rows():
    rows = RowAdapters.of([{SITE: filled(7, 5, 3)}], torch.zeros(0, dtype=torch.long))
    assert rows.add(SITE, torch.zeros(0, 2, 7), nn.Linear(7, 5)).shape == (0, 2, 5)


def test_an_adapter_that_is_not_there():
    with pytest.raises(ShapeError, match=r"rows use the adapters \[0, 2\], but there are 2"):
        RowAdapters.of([{}, {}], torch.tensor([0, 2]))
