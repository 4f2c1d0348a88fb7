"""The Q-Former's memory against the plain loop: outputs, banks, gradients, special cases, mixed batches."""

import itertools

import pytest
import torch

from benchmarks.plain_memory import plain_loop
from vidweave.connectors.qformer import QFormerConfig
from vidweave.connectors.qformer_memory import MemoryConfig
from vidweave.errors import ConfigError, ShapeError
from vidweave.nn.bank import UndoLog
from vidweave.registry import TRUNKS
from vidweave.testing import check_trunk
from vidweave.types import TrunkInput, component_from_dict

SIZES = {"hidden": 24, "heads": 4, "intermediate": 20, "encoder_width": 14, "vocab_size": 31, "max_positions": 9}
ROWS, QUERIES, KEYS, LENGTH = 3, 5, 7, 6


def build(length=3, layers=4, dtype=torch.float32, **changes):
    torch.manual_seed(3)
    memory = {"chunk": 4, **{k: changes.pop(k) for k in ("policy", "window", "banks", "chunk") if k in changes}}
    config = QFormerConfig(**SIZES, layers=layers, memory=MemoryConfig(length=length, **memory), **changes)
    qformer = config.build().eval()
    for parameter in qformer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return qformer.to(dtype)


def given(segments, seed=0, rows=ROWS, dtype=torch.float32):
    torch.manual_seed(seed)
    queries = torch.randn(1, QUERIES, 24).expand(rows, -1, -1)
    keys = torch.randn(rows, 1, KEYS, 14) + 0.7 * torch.randn(rows, segments, KEYS, 14).cumsum(1)
    text = torch.randint(1, 31, (rows, LENGTH))
    text_mask = torch.arange(LENGTH) < torch.tensor([LENGTH, 2, 4, 1, 3])[:rows, None]
    return queries.to(dtype), keys.to(dtype), text, text_mask


def fast(qformer, queries, keys, text=None, text_mask=None, key_mask=None, cuts=()):
    """All segments but the last committed in pieces, the last one evaluated."""
    mask = torch.ones(keys.shape[:3], dtype=torch.bool) if key_mask is None else key_mask
    inputs = TrunkInput(queries, keys, mask, text, text_mask)
    memory = qformer.empty_memory(inputs)
    borders = [0, *cuts, keys.shape[1] - 1]
    for start, end in itertools.pairwise(borders):
        memory = qformer.commit(inputs.steps(slice(start, end)), memory)
    return qformer.evaluate(inputs.step(-1), memory), memory


@pytest.mark.parametrize("layers", [1, 2, 4, 5])
@pytest.mark.parametrize(("length", "segments"), [(1, 6), (3, 1), (3, 2), (3, 3), (3, 4), (3, 5), (3, 14), (5, 11)])
def test_equals_the_plain_loop(length, segments, layers):
    """In double precision, so that no rounding decides a merge; single precision is compared below."""
    qformer = build(length, layers, torch.float64)
    queries, keys, text, text_mask = given(segments, seed=segments, dtype=torch.float64)
    with torch.no_grad():
        expected, _, before = plain_loop(qformer, queries, keys, length, text, text_mask)
        hidden, memory = fast(qformer, queries, keys, text, text_mask)
        real = torch.cat([torch.ones(ROWS, QUERIES, dtype=torch.bool), text_mask], 1)
        torch.testing.assert_close(hidden[real], expected[real], rtol=1e-7, atol=1e-9)
        plain, _, _ = plain_loop(qformer, queries, keys, length)
        torch.testing.assert_close(fast(qformer, queries, keys)[0], plain, rtol=1e-7, atol=1e-9)
    if segments > 1:
        values, size = memory.visual.bank.in_time()
        kept = min(length, segments - 1)
        torch.testing.assert_close(values[:, :kept], before.values["visual"], rtol=1e-7, atol=1e-9)
        assert torch.equal(size[:, :kept], before.sizes["visual"])
    for index in range(2, layers):
        values, size = memory.layers[index].bank.in_time()
        if segments > 1:
            torch.testing.assert_close(
                values[:, :kept].transpose(1, 2)[real],
                before.values[f"layer.{index}"].transpose(1, 2)[real],
                rtol=1e-7,
                atol=1e-9,
            )
    assert memory.count.tolist() == [segments - 1] * ROWS


@pytest.mark.parametrize("cuts", [(1,), (2, 3), tuple(range(1, 10)), (4, 8)])
def test_pieces_equal_the_whole_and_every_step_the_loop(cuts):
    qformer = build()
    queries, keys, text, text_mask = given(11, seed=5)
    with torch.no_grad():
        whole, _ = fast(qformer, queries, keys, text, text_mask)
        pieces, _ = fast(qformer, queries, keys, text, text_mask, cuts=cuts)
        torch.testing.assert_close(pieces, whole, rtol=1e-4, atol=1e-5)
        _, steps, _ = plain_loop(qformer, queries, keys, 3)
        inputs = TrunkInput(queries, keys)
        memory = qformer.empty_memory(inputs)
        for step, expected in enumerate(steps):
            hidden, memory = qformer.step(inputs.step(step), memory)
            torch.testing.assert_close(hidden, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_gradients_equal_those_of_the_plain_loop(mode):
    """Banks carry no gradient; projections train from them. In training mode the first layer has its bank or not."""
    qformer = build(hidden_dropout=0.0, attention_dropout=0.0).train(mode == "train")
    queries, keys, text, text_mask = given(7, seed=2)
    tokens = queries[:1].clone()

    def gradients(run):
        qformer.zero_grad()
        query, seen = tokens.clone().requires_grad_(), keys.clone().requires_grad_()
        hidden = run(query.expand(ROWS, -1, -1), seen)
        (hidden[:, :QUERIES] * torch.linspace(-1, 1, 24)).sum().backward()
        result = {name: p.grad.clone() for name, p in qformer.named_parameters() if p.grad is not None}
        return {**result, "queries": query.grad, "keys": seen.grad}

    slow = gradients(lambda q, k: plain_loop(qformer, q, k, 3, text, text_mask)[0])
    quick = gradients(lambda q, k: fast(qformer, q, k, text, text_mask)[0])
    assert slow.keys() == quick.keys()
    for name, expected in slow.items():
        torch.testing.assert_close(quick[name], expected, rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    assert not quick["keys"][:, :-1].any()


def test_with_dropout_the_first_layer_has_a_bank_of_different_entries():
    qformer = build(hidden_dropout=0.3).train()
    queries, keys, _, _ = given(5)
    _, memory = fast(qformer, queries, keys)
    values, _ = memory.layers[0].bank.in_time()
    assert not torch.equal(values[:, 0], values[:, 1])
    assert build(hidden_dropout=0.3).empty_memory(TrunkInput(queries, keys)).layers[0] is None


def test_mixed_lengths_equal_each_row_alone():
    qformer = build()
    queries, keys, text, text_mask = given(9, seed=8)
    lengths = [9, 4, 6]
    mask = (torch.arange(9) < torch.tensor(lengths)[:, None])[..., None].repeat(1, 1, KEYS)
    mask[2, :, 5:] = False  # and a row with fewer tokens per segment
    past = mask.clone()
    for row, length in enumerate(lengths):
        past[row, length - 1] = False
    with torch.no_grad():
        inputs = TrunkInput(queries, keys, past, text, text_mask)
        memory = qformer.commit(inputs, qformer.empty_memory(inputs))
        last = torch.stack([keys[r, n - 1] for r, n in enumerate(lengths)])
        last_mask = torch.stack([mask[r, n - 1] for r, n in enumerate(lengths)])
        hidden = qformer.evaluate(inputs.with_keys(last, last_mask), memory)
        for row, length in enumerate(lengths):
            alone = slice(row, row + 1)
            words = int(text_mask[row].sum())
            seen = keys[alone, :length, : int(mask[row, 0].sum())]
            expected, _, _ = plain_loop(qformer, queries[alone], seen, 3, text[alone, :words], text_mask[alone, :words])
            torch.testing.assert_close(hidden[alone, : QUERIES + words], expected, rtol=1e-4, atol=2e-5)
    assert memory.count.tolist() == [8, 3, 5]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"policy": "merge_frames"},
        {"window": 2},
        {"policy": "fifo"},
        {"policy": "mean"},
        {"policy": "none"},
        {"policy": "concat", "length": 9},
        {"banks": "visual"},
        {"banks": "query"},
        {"length": 1},
        {"chunk": 1},
    ],
    ids=str,
)
def test_contract_of_the_trunk(changes):
    check_trunk(build(**changes))


def test_policies_are_what_they_say():
    queries, keys, _, _ = given(7, seed=4)
    with torch.no_grad():
        alone = build(policy="none")
        plain, _, _ = plain_loop(alone, queries, keys[:, -1:], 1)
        torch.testing.assert_close(fast(alone, queries, keys)[0], plain, rtol=1e-4, atol=2e-5)
        everything, _, _ = plain_loop(alone, queries, keys, 99)
        torch.testing.assert_close(
            fast(build(policy="concat", length=6), queries, keys)[0], everything, rtol=1e-4, atol=2e-5
        )
        mean, _, _ = plain_loop(alone, queries, keys, 1)
        torch.testing.assert_close(fast(build(policy="mean"), queries, keys)[0], mean, rtol=1e-4, atol=2e-5)
        short, _ = fast(build(policy="fifo", banks="visual", layers=2), queries, keys[:, -4:])
        long, _ = fast(build(policy="fifo", banks="visual", layers=2), queries, keys)
        torch.testing.assert_close(long, short, rtol=1e-4, atol=1e-5)


def test_the_memory_that_was_given_stays():
    qformer = build()
    queries, keys, text, text_mask = given(9, seed=6)
    inputs = TrunkInput(queries, keys, torch.ones(keys.shape[:3], dtype=torch.bool), text, text_mask)
    with torch.no_grad():
        memory = qformer.commit(inputs.steps(slice(5)), qformer.empty_memory(inputs))
        before = qformer.evaluate(inputs.step(5), memory)
        qformer.commit(inputs.steps(slice(5, None)), memory)
        assert torch.equal(qformer.evaluate(inputs.step(5), memory), before)


@pytest.mark.parametrize("changes", [{}, {"window": 2}, {"policy": "fifo"}, {"policy": "merge_frames"}], ids=str)
@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_journal_spares_the_copy_and_brings_back_what_was(changes, size):
    qformer = build(**changes)
    queries, keys, text, text_mask = given(14, seed=7)
    inputs = TrunkInput(queries, keys, torch.ones(keys.shape[:3], dtype=torch.bool), text, text_mask)

    def step(memory, start, undo_log=None):
        return qformer.commit(inputs.steps(slice(start, start + size)), memory, undo_log)

    def fail_after_two(memory, start):
        with UndoLog() as undo_log:
            step(step(memory, start, undo_log), 0, undo_log)
            raise RuntimeError("out of memory")

    ask = inputs.step(-1)
    with torch.no_grad():
        memory = plain = qformer.empty_memory(inputs)
        for start in range(0, 14, size):
            before = qformer.evaluate(ask, memory)
            with pytest.raises(RuntimeError, match="out of memory"):
                fail_after_two(memory, start)
            assert torch.equal(qformer.evaluate(ask, memory), before)
            plain = step(plain, start)
            with UndoLog() as undo_log:
                memory = step(memory, start, undo_log)
            assert torch.equal(qformer.evaluate(ask, memory), qformer.evaluate(ask, plain))
    if size == 1:
        buffer = memory.layers[1].pairs[0].data_ptr()
        with UndoLog() as undo_log:
            assert step(memory, 0, undo_log).layers[1].pairs[0].data_ptr() == buffer


def test_no_rows_and_no_segments():
    qformer = build()
    queries, keys, text, text_mask = given(3, rows=2)
    hidden, _ = fast(qformer, queries[:0], keys[:0], text[:0], text_mask[:0])
    assert hidden.shape == (0, QUERIES + LENGTH, 24)
    inputs = TrunkInput(queries, keys, torch.ones(2, 3, KEYS, dtype=torch.bool), text, text_mask)
    assert qformer.commit(inputs.steps(slice(0)), qformer.empty_memory(inputs)).count.tolist() == [0, 0]


def test_half_precision():
    qformer = build().to(torch.bfloat16)
    queries, keys, text, text_mask = given(9)
    hidden, memory = fast(qformer, queries.bfloat16(), keys.bfloat16(), text, text_mask)
    assert hidden.dtype == torch.bfloat16
    assert memory.visual.bank.values.dtype == torch.float32
    assert bool(hidden.isfinite().all())


def test_config_round_trip():
    config = QFormerConfig(**SIZES, memory=MemoryConfig(length=4, policy="merge_frames", window=2))
    assert component_from_dict(TRUNKS, config.to_dict()) == config
    assert config.has_memory
    assert not QFormerConfig(**SIZES).has_memory


def test_faults():
    qformer = build(policy="concat", length=3)
    queries, keys, _, _ = given(5)
    with pytest.raises(ShapeError, match="4 segments and the current one exceed the memory"):
        fast(qformer, queries, keys)
    with pytest.raises(ConfigError, match="needs a QFormerMemory, got NoneType; start with empty_memory"):
        qformer.step(TrunkInput(queries, keys[:, 0]), None)
    with pytest.raises(ConfigError, match=r"MemoryQFormer needs a memory; start with empty_memory\(\)"):
        qformer(TrunkInput(queries, keys[:, 0]))
    with pytest.raises(ConfigError, match="at least 1, got 0 and 16"):
        MemoryConfig(length=0)
    with pytest.raises(ConfigError, match=r"window \(2\) belongs to the policies that merge, not to 'fifo'"):
        MemoryConfig(length=4, policy="fifo", window=2)


def test_the_account_is_bounded_unless_all_is_asked_for():
    qformer = build(layers=3)
    queries, keys, text, text_mask = given(9)
    _, memory = fast(qformer, queries, keys, text, text_mask)
    info = qformer.account(memory, 1, 4)
    assert (info["policy"], info["length"], list(info["banks"])) == ("merge", 3, ["visual"])
    assert len(info["banks"]["visual"]["sizes"]) == 4
    whole = qformer.account(memory, 1, None)["banks"]
    assert list(whole) == ["visual", "layer 1", "layer 2"]
    assert [len(bank["tokens"]) for bank in whole.values()] == [KEYS, QUERIES + LENGTH, QUERIES + LENGTH]
    assert all(sum(sizes) == 8 for sizes in whole["visual"]["sizes"])
    silent = build(banks="query")
    _, memory = fast(silent, queries, keys, text, text_mask)
    assert list(silent.account(memory, 0, 4)["banks"]) == ["layer 3"]


def test_a_visual_bank_alone_is_filled_without_asking_the_layers(monkeypatch):
    qformer = build(banks="visual")
    queries, keys, text, text_mask = given(9)
    monkeypatch.setattr(type(qformer.layers[0]), "feed", lambda *_: pytest.fail("a layer was asked"))
    inputs = TrunkInput(queries, keys, None, text, text_mask)
    memory = qformer.commit(inputs, qformer.empty_memory(inputs))
    assert memory.visual.bank.size.sum(1).eq(9).all()
    assert qformer.replay(inputs, memory) is memory
