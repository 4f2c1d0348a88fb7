import pytest
import torch

from vidweave.errors import ConfigError
from vidweave.nn.attention import MultiHeadAttention, attend


def test_equals_the_written_formula():
    torch.manual_seed(1)
    query, key, value = torch.randn(2, 3, 5, 7), torch.randn(2, 3, 11, 7), torch.randn(2, 3, 11, 7)
    mask = torch.rand(2, 11) < 0.6
    scores = (query @ key.transpose(-1, -2) / 7**0.5).masked_fill(~mask[:, None, None], -torch.inf)
    torch.testing.assert_close(attend(query, key, value, mask), scores.softmax(-1) @ value)


def test_row_without_keys_is_finite_and_gives_no_gradient():
    attention = MultiHeadAttention(12, 3, key_width=5)
    queries, keys = torch.randn(2, 4, 12), torch.randn(2, 6, 5, requires_grad=True)
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[1] = False
    result = attention(queries, keys, mask)
    assert torch.equal(result[1], torch.zeros(4, 12))
    result.sum().backward()
    assert keys.grad is not None
    assert torch.isfinite(keys.grad).all()
    assert not keys.grad[1].any()


def test_masked_keys_do_not_matter():
    attention = MultiHeadAttention(12, 2, key_width=5).eval()
    queries, keys = torch.randn(2, 4, 12), torch.randn(2, 6, 5)
    mask = torch.arange(6) < torch.tensor([[6], [2]])
    changed = torch.where(mask[..., None], keys, 99.0)
    torch.testing.assert_close(attention(queries, keys, mask), attention(queries, changed, mask))
    torch.testing.assert_close(attention(queries, keys, mask)[1:], attention(queries[1:], keys[1:, :2]))


def test_no_rows():
    assert MultiHeadAttention(12, 2)(torch.zeros(0, 4, 12), key_mask=torch.ones(0, 4, dtype=torch.bool)).shape == (
        0,
        4,
        12,
    )


def test_heads_must_divide():
    with pytest.raises(ConfigError, match=r"width \(10\) must be a multiple of the number of heads \(3\)"):
        MultiHeadAttention(10, 3)
