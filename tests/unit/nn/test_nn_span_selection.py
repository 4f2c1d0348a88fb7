import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidweave.errors import ConfigError, ShapeError
from vidweave.nn.span_rounding import round_spans
from vidweave.nn.span_selection import (
    candidate_weights,
    gumbel_noise,
    inside_spans,
    pick_candidates,
    span_loss,
    step_density,
    thin,
    top_spans,
)


def peaks(length, starts, ends, height=6.0):
    logits = torch.zeros(1, length, 2)
    for position, more in starts:
        logits[0, position, 0] = height + more
    for position, more in ends:
        logits[0, position, 1] = height + more
    return logits


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), length=st.integers(1, 13), count=st.integers(1, 4), longest=st.integers(1, 14))
def test_spans_start_before_they_end_and_lie_inside(seed, length, count, longest):
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(3, length, 2, generator=generator)
    lengths = torch.tensor([length, (length + 1) // 2, 0])
    mask = torch.arange(length) < lengths[:, None]
    spans, probability, real = top_spans(logits, mask, count, max_steps=longest)
    assert real[:2, 0].all()
    assert not real[2].any()
    inside = spans[:2]
    assert (inside[..., 0] <= inside[..., 1]).all()
    assert (inside[..., 1] < lengths[:2, None]).all()
    assert (inside[..., 1] - inside[..., 0] < longest).all()
    assert (probability[real] > 0).all()
    assert (probability <= 1 + 1e-5).all()
    again = top_spans(logits, mask, count, max_steps=longest)
    assert torch.equal(again[0], spans)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), length=st.integers(1, 9))
def test_the_first_span_is_the_best_of_all(seed, length):
    logits = 3 * torch.randn(1, length, 2, generator=torch.Generator().manual_seed(seed))
    start, end = logits.log_softmax(1)[0].unbind(-1)
    score = {(s, e): float(start[s] + end[e]) for s in range(length) for e in range(s, length)}
    spans, probability, _ = top_spans(logits, torch.ones(1, length, dtype=torch.bool), 1)
    best = max(score, key=score.__getitem__)
    assert tuple(spans[0, 0].tolist()) == best
    whole = torch.tensor(list(score.values())).exp().sum()
    torch.testing.assert_close(probability[0, 0], torch.tensor(score[best]).exp() / whole, rtol=1e-4, atol=1e-6)


def test_two_events_give_two_spans_and_a_faint_one_is_left_out():
    logits = peaks(20, [(3, 0.5), (12, 0)], [(5, 0.5), (14, 0)])
    mask = torch.ones(1, 20, dtype=torch.bool)
    spans, _, real = top_spans(logits, mask, 2, max_steps=4)
    assert spans[0].tolist() == [[3, 5], [12, 14]]
    assert real.all()
    spans, probability, real = top_spans(logits, mask, 2, max_steps=4, min_share=0.9)
    assert real.tolist() == [[True, False]]
    assert spans[0].tolist() == [[3, 5], [3, 5]]
    assert probability[0, 1] == 0


def test_overlapping_spans_are_suppressed():
    logits = peaks(9, [(2, 0.2), (3, 0)], [(6, 0.1), (7, 0)])
    mask = torch.ones(1, 9, dtype=torch.bool)
    spans, _, _ = top_spans(logits, mask, 3, max_overlap=0.5)
    first, second = spans[0, 0].tolist(), spans[0, 1].tolist()
    shared = min(first[1], second[1]) - max(first[0], second[0]) + 1
    assert first == [2, 6]
    assert shared / (max(first[1], second[1]) - min(first[0], second[0]) + 1) <= 0.5 or shared <= 0


def test_padding_never_competes():
    logits = torch.zeros(1, 6, 2)
    logits[0, 1, 0] = logits[0, 2, 1] = 1.0
    logits[0, 5] = 50.0
    mask = torch.tensor([[True] * 4 + [False] * 2])
    assert top_spans(logits, mask, 1)[0].tolist() == [[[1, 2]]]
    alone = top_spans(logits[:, :4], mask[:, :4], 1)
    torch.testing.assert_close(top_spans(logits, mask, 1)[1], alone[1])


def test_timestamps_are_the_middles_of_what_lies_inside():
    times = torch.arange(10.0)[None]
    far = inside_spans(times, torch.tensor([[[2.0, 5.0], [8.0, 8.0]]]), torch.ones(1, 2, dtype=torch.bool))
    assert far[0].tolist() == [2, 1, 0, 0, 0, 0, 1, 1, 0, 1]
    mask = torch.ones(1, 10, dtype=torch.bool)
    assert pick_candidates(far, mask, 5)[0].tolist() == [[2, 3, 4, 5, 8]]
    assert pick_candidates(far, mask, 2)[0].tolist() == [[3, 5]]
    assert pick_candidates(far, mask, 7)[0].tolist() == [[1, 2, 3, 4, 5, 6, 8]]  # the nearest join, the earlier first


@pytest.mark.parametrize("k", [1, 3, 8])
def test_short_and_empty_clips_give_exactly_k(k):
    mask = torch.tensor([[True, True, False], [True, False, False], [False] * 3])
    index, real = pick_candidates(torch.tensor([[0.0, 9.0, 0.0]] * 3), mask, k)
    assert index.shape == (3, k)
    assert real.tolist() == [[True] * k, [True] * k, [False] * k]
    assert set(index[0].tolist()) <= {0, 1}
    assert set(index[1].tolist()) == {0}
    assert pick_candidates(torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool), k)[1].tolist() == [[False] * k] * 2


def test_soft_timestamps_agree_with_hard_ones_on_sure_spans():
    density = torch.tensor([[0.0, 0, 1, 1, 1, 1, 0, 0]])
    mask = torch.ones(1, 8, dtype=torch.bool)
    mix = candidate_weights(density, mask, 4)
    torch.testing.assert_close(mix[0], torch.eye(8)[2:6])
    torch.testing.assert_close(candidate_weights(density, mask, 2)[0] @ torch.arange(8.0), torch.tensor([2.5, 4.5]))
    nothing = candidate_weights(torch.zeros(1, 8), torch.arange(8)[None] < 4, 2)
    torch.testing.assert_close(nothing[0] @ torch.arange(8.0), torch.tensor([0.5, 2.5]))


def test_density_is_between_start_and_end_and_has_a_gradient():
    logits = peaks(9, [(2, 9)], [(5, 9)]).requires_grad_()
    density = step_density(logits, torch.arange(9)[None] < 8)
    torch.testing.assert_close(density[0].round(), torch.tensor([0.0, 0, 1, 1, 1, 1, 0, 0, 0]))
    loss = (candidate_weights(density, torch.arange(9)[None] < 8, 3) * torch.arange(9.0)).sum()
    loss.backward()
    assert logits.grad[0, :8].abs().sum() > 0
    assert torch.isfinite(logits.grad).all()


def test_loss_ignores_padding_and_targets_beyond_the_clip():
    logits = torch.randn(2, 5, 2)
    starts, ends = torch.tensor([1, 5]), torch.tensor([2, 9])
    alone = torch.nn.functional.cross_entropy(logits[:1, :, 0], starts[:1]) / 2
    alone = alone + torch.nn.functional.cross_entropy(logits[:1, :, 1], ends[:1]) / 2
    torch.testing.assert_close(span_loss(logits, starts, ends), alone)
    padded = torch.cat([logits[:1], torch.full((1, 3, 2), 99.0)], 1)
    mask = torch.arange(8)[None] < 5
    torch.testing.assert_close(span_loss(padded, starts[:1], ends[:1], mask), alone)
    assert span_loss(logits, torch.tensor([5, 5]), torch.tensor([5, 5])) == 0


def test_noise_needs_a_generator_and_repeats_with_it():
    logits = torch.zeros(2, 3, 2)
    with pytest.raises(ConfigError, match=r"sampling spans needs a generator.*manual_seed"):
        gumbel_noise(logits, None)
    one, two = (gumbel_noise(logits, torch.Generator().manual_seed(s)) for s in (4, 4))
    assert torch.equal(one, two)
    many = gumbel_noise(torch.zeros(20_000, 2, 1), torch.Generator().manual_seed(1))
    share = ((torch.tensor([[1.0], [0.0]]) + many).argmax(1) == 0).float().mean()
    assert share == pytest.approx(1 / (1 + torch.e**-1), abs=0.02)


def test_noise_draws_from_the_softmax_of_more_than_two():
    # with two classes noise of the wrong sign draws from the same shares
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    noise = gumbel_noise(torch.zeros(20_000, 4, 1), torch.Generator().manual_seed(2))[..., 0]
    shares = (logits + noise).argmax(1).bincount(minlength=4) / 20_000
    torch.testing.assert_close(shares, logits.softmax(0), atol=0.015, rtol=0)


def test_thinning_keeps_short_rows_whole():
    mask = torch.arange(9) < torch.tensor([9, 3, 0])[:, None]
    assert thin(mask, 4).tolist() == [[1, 3, 5, 7], [0, 1, 2, 3], [0, 1, 2, 3]]


def test_shapes_are_checked():
    with pytest.raises(ShapeError, match=r"logits must be \(R, L, 2\) with a mask"):
        top_spans(torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool), 1)


@pytest.mark.parametrize("rounding", ["ends", "ends_inclusive", "share"])
def test_original_roundings_survive_one_step(rounding):
    assert len(round_spans([(0, 0)], num_steps=1, num_frames=3, k=4, rounding=rounding)) == 4
