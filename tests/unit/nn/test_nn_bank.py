"""The bank against a memory that is a list: every policy, every special case, random lengths and masks."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidweave.errors import ConfigError, ShapeError
from vidweave.nn.bank import BankRule, append_, blend_, compress, empty_bank, place_, push, runs, shorten_

ROWS, TOKENS, WIDTH = 3, 4, 5


def random_walk(steps, seed, dtype=torch.float64):
    """Neighbours are the same, no two pairs equally so."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(ROWS, steps, TOKENS, WIDTH, generator=generator, dtype=dtype).cumsum(1)


def filled(frames, rule, real=None):
    bank = empty_bank(ROWS, rule.limit, TOKENS, WIDTH, frames)
    for step in range(frames.shape[1]):
        bank = push(bank, frames[:, step], None if real is None else real[:, step], rule)
    return bank


def by_list(entries, rule, score=None):
    """One token position: entries [(value, size)] after every overflow, by the words of the rule."""
    bank = []
    for value in entries:
        bank.append((value, 1.0))
        if len(bank) <= rule.limit:
            continue
        if rule.policy == "drop":
            bank.pop(0)
            continue
        for _ in range(rule.window):
            values = torch.stack([v for v, _ in bank])
            k = int(torch.cosine_similarity(values[:-1], values[1:], dim=-1).argmax())
            (a, m), (b, n) = bank[k : k + 2]
            bank[k : k + 2] = [((m * a + n * b) / (m + n), m + n)]
    return bank


def expect_same(bank, row, token, expected):
    values, size = bank.in_time()
    length = int(bank.length[row, token])
    assert length == len(expected)
    assert size[row, :, token].tolist() == [s for _, s in expected] + [0.0] * (size.shape[1] - length)
    for index, (value, _) in enumerate(expected):
        torch.testing.assert_close(values[row, index, token], value)


RULES = [
    BankRule(limit=1),
    BankRule(limit=2),
    BankRule(limit=5),
    BankRule(limit=5, window=3),
    BankRule(limit=4, window=4),
    BankRule(limit=3, policy="drop"),
    BankRule(limit=0, policy="drop"),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
@settings(max_examples=15, deadline=None)
@given(steps=st.integers(0, 17), seed=st.integers(0, 10_000), is_masked=st.booleans())
def test_equals_a_list_per_position(rule, steps, seed, is_masked):
    frames = random_walk(max(steps, 1), seed)[:, :steps]
    real = torch.rand(ROWS, steps, TOKENS, generator=torch.Generator().manual_seed(seed)) < 0.7
    bank = filled(frames, rule, real if is_masked else None)
    for row in range(ROWS):
        for token in range(TOKENS):
            keep = real[row, :, token] if is_masked else torch.ones(steps, dtype=torch.bool)
            expect_same(bank, row, token, by_list(list(frames[row, keep, token]), rule))
    count = real.sum(1) if is_masked else torch.full((ROWS, TOKENS), steps)
    assert torch.equal(bank.length, rule.length_after(count))
    assert bank.filled is None or bool((bank.length == bank.filled).all())
    assert torch.equal(bank.order.sort(1).values, empty_bank(ROWS, rule.limit, TOKENS, WIDTH, frames).order)


@settings(max_examples=20, deadline=None)
@given(steps=st.integers(2, 12), seed=st.integers(0, 10_000))
def test_equals_repeated_compression(steps, seed):
    frames, rule = random_walk(steps, seed, torch.float32), BankRule(limit=3)
    values, size = frames[:, :0], torch.zeros(ROWS, 0, TOKENS)
    for step in range(steps):
        values = torch.cat([values, frames[:, step : step + 1]], 1)
        size = torch.cat([size, torch.ones(ROWS, 1, TOKENS)], 1)
        if values.shape[1] > rule.limit:
            values, size, _ = compress(values, size)
    got, got_size = filled(frames, rule).in_time()
    torch.testing.assert_close(got[:, : values.shape[1]], values, rtol=1e-4, atol=1e-5)
    assert torch.equal(got_size[:, : values.shape[1]], size)
    assert size.sum(1).eq(steps).all()


def test_frames_merge_at_one_place():
    frames, rule = random_walk(9, 3), BankRule(limit=4, policy="merge_frames")
    values, size = filled(frames, rule).in_time()
    assert bool((size == size[:, :, :1]).all())
    for row in range(ROWS):
        entries, sizes = list(frames[row, :4]), [1.0] * 4
        for frame in frames[row, 4:]:
            entries.append(frame)
            sizes.append(1.0)
            likeness = [torch.cosine_similarity(a, b, dim=-1).mean() for a, b in itertools.pairwise(entries)]
            k = int(torch.stack(likeness).argmax())
            a, b, m, n = entries[k], entries[k + 1], sizes[k], sizes[k + 1]
            entries[k : k + 2], sizes[k : k + 2] = [(m * a + n * b) / (m + n)], [m + n]
        torch.testing.assert_close(values[row, :4], torch.stack(entries))
        assert size[row, :4, 0].tolist() == sizes


def test_frames_with_gaps_keep_step_and_masked_values_do_not_matter():
    frames, rule = random_walk(9, 4), BankRule(limit=3, policy="merge_frames")
    real = torch.rand(ROWS, 9, TOKENS) < 0.6
    bank = filled(frames, rule, real)
    assert torch.equal(bank.length, bank.length[:, :1].expand_as(bank.length))
    other = filled(frames.masked_fill(~real[..., None], 7.0), rule, real)
    assert torch.equal(bank.in_time()[0], other.in_time()[0])
    assert torch.equal(bank.size.sum(1), real.sum(1).double())


@pytest.mark.parametrize("rule", [BankRule(limit=3), BankRule(limit=3, window=2), BankRule(limit=3, policy="drop")])
def test_affine_projections_follow(rule):
    """Projecting and then merging is merging and then projecting."""
    frames, linear = random_walk(11, 5), torch.nn.Linear(WIDTH, 7).double()
    bank = empty_bank(ROWS, rule.limit, TOKENS, WIDTH, frames)
    buffer = torch.zeros(ROWS, rule.limit + 1, TOKENS, 7, dtype=torch.float64)
    with torch.no_grad():
        for step in range(11):
            bank, at = append_(bank, frames[:, step], None, rule)
            place_(buffer, at, linear(frames[:, step]))
            bank, moves = shorten_(bank, rule)
            for move in moves:
                blend_(buffer, move)
        torch.testing.assert_close(buffer[bank.real], linear(bank.values)[bank.real])


def test_equal_entries_merge_at_the_first_place():
    frames = torch.ones(ROWS, 5, TOKENS, WIDTH)
    _, size = filled(frames, BankRule(limit=4)).in_time()
    assert size[0, :, 0].tolist() == [2.0, 1.0, 1.0, 1.0, 0.0]


def test_nan_is_merged_first():
    frames = random_walk(4, 6)
    frames[1, 1, 2] = torch.nan
    values, size = filled(frames, BankRule(limit=3)).in_time()
    assert size[1, :, 2].tolist() == [2.0, 1.0, 1.0, 0.0]
    assert bool(values[1, 0, 2].isnan().all())
    assert bool(values[1, :, [0, 1, 3]].isfinite().all())


def test_the_bank_that_was_given_stays():
    frames, rule = random_walk(8, 7), BankRule(limit=3)
    bank = filled(frames[:, :5], rule)
    before = bank.in_time()[0].clone()
    push(bank, frames[:, 5], None, rule)
    assert torch.equal(bank.in_time()[0], before)


def test_half_precision_is_kept_in_full():
    bank = filled(torch.ones(ROWS, 1, TOKENS, WIDTH, dtype=torch.bfloat16), BankRule(limit=1))
    assert bank.values.dtype == torch.float32
    for _ in range(600):
        bank = push(bank, torch.zeros(ROWS, TOKENS, WIDTH, dtype=torch.bfloat16), None, BankRule(limit=1))
    torch.testing.assert_close(bank.values[0, 0, 0, 0].item(), 1 / 601, rtol=1e-3, atol=0)


def test_more_positions_later():
    frames, rule = random_walk(6, 8), BankRule(limit=3)
    narrow = empty_bank(ROWS, 3, TOKENS - 2, WIDTH, frames)
    for step in range(3):
        narrow = push(narrow, frames[:, step, :2], None, rule)
    wide = narrow.widen(TOKENS)
    for step in range(3, 6):
        wide = push(wide, frames[:, step], None, rule)
    expect_same(wide, 1, 0, by_list(list(frames[1, :, 0]), rule))
    expect_same(wide, 1, 3, by_list(list(frames[1, 3:, 3]), rule))
    assert wide.widen(TOKENS) is wide


def test_faults():
    with pytest.raises(ShapeError, match=r"memory is full \(2 time steps\) and its policy is 'refuse'"):
        filled(random_walk(3, 9), BankRule(limit=2, policy="refuse"))
    with pytest.raises(ConfigError, match="policy 'merge' needs a limit of at least 1, got 0"):
        BankRule(limit=0)
    with pytest.raises(ConfigError, match=r"window \(4\) must be between 1 and the bank's limit \(3\)"):
        BankRule(limit=3, window=4)


def test_runs_report_what_each_entry_averages():
    rule, bank = BankRule(limit=3), empty_bank(2, 3, 5, 4, torch.zeros(1))
    torch.manual_seed(5)
    frames = torch.randn(2, 1, 5, 4) + 0.3 * torch.randn(2, 8, 5, 4).cumsum(1)
    real = torch.ones(2, 8, 5, dtype=torch.bool)
    real[1, 4:, 2] = False
    for step in range(8):
        bank = push(bank, frames[:, step], real[:, step], rule)
    info = runs(bank, 1)
    assert info["tokens"] == [0, 1, 2, 3, 4]
    values, size = bank.in_time()
    for token, (sizes, likeness) in enumerate(zip(info["sizes"], info["similarity"], strict=True)):
        assert sum(sizes) == (4 if token == 2 else 8)
        assert sizes == [int(s) for s in size[1, :, token] if s]
        seen = values[1, : len(sizes), token]
        expected = torch.nn.functional.cosine_similarity(seen[:-1], seen[1:], dim=-1)
        torch.testing.assert_close(torch.tensor(likeness), expected, rtol=0, atol=1e-5)  # told in five digits
    assert runs(bank, 0, 3)["tokens"] == [0, 2, 4]
    assert runs(bank, 0, 1)["tokens"] == [0]
    rule, forgetful = BankRule(limit=2, policy="drop"), empty_bank(1, 2, 1, 4, torch.zeros(1))
    for step in range(3):
        forgetful = push(forgetful, frames[:1, step, :1], None, rule)
    assert runs(forgetful, 0) == {"tokens": [0], "sizes": [[1, 1]], "similarity": [[None]]}


@pytest.mark.parametrize("rule", [BankRule(limit=3), BankRule(limit=5, window=3)])
def test_nan_in_one_position_stays_there(rule):
    frames = random_walk(11, seed=5)
    clean = filled(frames, rule)
    frames = frames.clone()
    frames[1, 2, 3, 0] = torch.nan
    bank = filled(frames, rule)
    assert torch.equal(bank.length, clean.length)
    assert torch.equal(bank.size.sum(1), clean.size.sum(1))  # no entry is lost or counted twice
    (values, sizes), (expected, _) = bank.in_time(), clean.in_time()
    others = torch.ones(ROWS, TOKENS, dtype=torch.bool)
    others[1, 3] = False
    assert torch.equal(values.transpose(1, 2)[others], expected.transpose(1, 2)[others])
    assert values[1, :, 3].isnan().any()  # and is seen by whoever reads it
    assert (sizes >= 0).all()
