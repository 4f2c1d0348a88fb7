import torch

from vidweave.nn.attention import MultiHeadAttention, attend
from vidweave.nn.rotary import rotate, sinusoid_table


def test_scores_depend_on_distance_alone():
    query, key = torch.randn(2, 3, 1, 8)
    table = sinusoid_table(500, 8)
    scores = [rotate(query, table[a : a + 1]) @ rotate(key, table[b : b + 1]).mT for a, b in ((3, 7), (490, 494))]
    torch.testing.assert_close(scores[0], scores[1], atol=1e-4, rtol=1e-4)


def test_rotation_keeps_lengths_and_position_zero():
    states, table = torch.randn(2, 5, 6), sinusoid_table(5, 6)
    turned = rotate(states, table)
    torch.testing.assert_close(turned.norm(dim=-1), states.norm(dim=-1))
    torch.testing.assert_close(turned[:, 0], states[:, 0])


def test_a_mask_per_query_hides_keys_from_that_query():
    query, key, value = torch.randn(3, 2, 1, 4, 5)
    mask = torch.ones(2, 4, 4, dtype=torch.bool).tril()
    mask[1, 2] = False
    got = attend(query, key, value, mask)
    torch.testing.assert_close(got[0, 0, 0], value[0, 0, 0])
    assert (got[1, 0, 2] == 0).all()
    torch.testing.assert_close(got[0, 0, 3], attend(query, key, value)[0, 0, 3])


def test_attention_turns_queries_and_keys_but_not_values():
    attention = MultiHeadAttention(8, 2)
    states = torch.randn(1, 3, 8)
    zero = sinusoid_table(1, 4).expand(3, 4)
    torch.testing.assert_close(attention(states, rotary=(zero, zero)), attention(states))
    table = sinusoid_table(3, 4)
    assert not torch.allclose(attention(states, rotary=(table, table)), attention(states))
