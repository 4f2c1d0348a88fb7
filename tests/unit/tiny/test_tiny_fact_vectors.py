"""A vector per fact, added to the tokens that tell it; and what is compared with them."""

import pytest
import torch

from vidweave.tiny.fact_vectors import FactVectors, relative_error


def test_a_token_gets_the_sum_of_its_facts():
    torch.manual_seed(0)
    vectors = FactVectors(5, 7, std=1.5, scale=10.0)
    facts = torch.zeros(2, 3, 5, dtype=torch.bool)
    facts[1, 2, [0, 4]] = True
    added = vectors(facts)
    torch.testing.assert_close(added[1, 2], 10 * (vectors.vectors[0] + vectors.vectors[4]))
    assert not added[0].any()
    assert not added[1, :2].any()


def test_the_scale_changes_how_fast_a_vector_moves_and_not_where_it_begins():
    made = []
    for scale in (1.0, 10.0):
        torch.manual_seed(3)
        vectors = FactVectors(4, 6, std=1.5, scale=scale)
        made.append(scale * vectors.vectors.detach())
        vectors(torch.eye(4, dtype=torch.bool)).sum().backward()
        assert vectors.vectors.grad is not None
        torch.testing.assert_close(vectors.vectors.grad, torch.full((4, 6), scale))
    torch.testing.assert_close(*made)


@pytest.mark.parametrize("is_centered", [True, False])
def test_the_mean_is_as_wrong_as_its_target_varies(is_centered):
    target = torch.randn(11, 13, generator=torch.Generator().manual_seed(1)) + 4
    assert float(relative_error(target, target, is_centered=is_centered)) == 0
    constant = target.mean() if is_centered else torch.zeros(())
    assert float(relative_error(constant.expand_as(target), target, is_centered=is_centered)) == pytest.approx(
        1, rel=0.01
    )
