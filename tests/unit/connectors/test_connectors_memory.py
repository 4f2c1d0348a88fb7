"""A trunk with a memory, made up for the test: each segment halves what came before it."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import pytest
import torch
from torch import nn

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.trunk import MemoryTrunk
from vidweave.errors import ConfigError, ShapeError
from vidweave.registry import TRUNKS
from vidweave.testing import check_trunk
from vidweave.types import ComponentConfig, Features


@dataclass(frozen=True, kw_only=True)
class FadingConfig(ComponentConfig):
    kind: ClassVar[str] = "fading"
    has_memory: ClassVar[bool] = True
    key_width: int = 5
    width: int = 4

    def build(self):
        return Fading(self.key_width, self.width)


class Fading(MemoryTrunk):
    """The least that a trunk with a memory needs; it reads the index of a row's port as an adapter."""

    has_adapters = True

    def __init__(self, key_width, width):
        super().__init__()
        self.key_width, self.width, self.query_width = key_width, width, width
        self.linear = nn.Linear(key_width, width)

    def sites(self):
        return {}

    def attach(self, adapters):
        pass

    def empty_memory(self, inputs):
        return inputs.keys.new_zeros(len(inputs.keys), self.width)

    def step(self, inputs, memory):
        weight = inputs.mask[..., None].to(inputs.keys.dtype)
        mean = (inputs.keys * weight).sum(1) / weight.sum(1).clamp(min=1)
        seen = torch.where(inputs.mask.any(1)[:, None], memory / 2 + self.linear(mean), memory)
        return inputs.queries + torch.tanh(seen + inputs.adapter[:, None])[:, None], seen


@pytest.fixture(autouse=True)
def _registered():
    TRUNKS.register("fading", FadingConfig)
    yield
    TRUNKS.unregister("fading")


def build(**changes):
    torch.manual_seed(0)
    port = {"trunk": "fading", "input_width": 5, "num_query_tokens": 3, **changes}
    ports = {"video": PortConfig(**port), "sound": PortConfig(**port)}
    return ConnectorConfig(trunks={"fading": FadingConfig()}, ports=ports, output_width=6).build().eval()


def features(lengths, tokens, seed):
    torch.manual_seed(seed)
    longest = max(lengths)
    mask = (torch.arange(longest) < torch.tensor(lengths)[:, None])[..., None].repeat(1, 1, tokens)
    seconds = (torch.arange(longest)[:, None] + torch.tensor([0.0, 1.0])).repeat(len(lengths), 1, 1)
    rows = torch.arange(len(lengths))
    return Features(torch.randn(len(lengths), longest, tokens, 5), mask, seconds, rows, torch.zeros_like(rows))


def cut(f, start, end):
    return Features(f.values[:, start:end], f.mask[:, start:end], f.seconds[:, start:end], f.item, f.scene)


GIVEN = {"video": features([5, 2, 1], 4, 1), "sound": features([1, 4, 3], 2, 2)}
PAIRS = (torch.arange(3), torch.zeros(3, dtype=torch.long))


def by_hand(connector, name, index):
    """The plain loop over the segments of one row."""
    f, port, linear = GIVEN[name], connector.ports[name], connector.trunks["fading"].linear
    keys = port.keys(f.values, f.mask, torch.zeros(3, dtype=torch.long), torch.float32)
    seen = torch.zeros(4)
    for segment, mask in zip(keys[index], f.mask[index], strict=True):
        if mask.any():
            seen = seen / 2 + linear(segment[mask].mean(0))
    return port.output_proj(port.query_tokens[0] + torch.tanh(seen + list(connector.ports).index(name)))


def test_contract_of_the_trunk():
    check_trunk(FadingConfig().build().eval())


@pytest.mark.parametrize("times", [0, 8])
@pytest.mark.parametrize("cuts", [[0, 5], [0, 1, 5], [0, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]])
def test_pieces_equal_the_plain_loop(times, cuts):
    connector = build(num_time_positions=times)
    if times:
        for port in connector.ports.values():
            nn.init.normal_(port.time_embedding)
    state = connector.begin(*PAIRS)
    for start, end in pairwise(cuts):
        state = connector.push(state, {name: cut(f, start, end) for name, f in GIVEN.items()})
    blocks, _ = connector.read(state)
    for name, f in GIVEN.items():
        assert blocks[name].values.shape == (3, 1, 3, 6)
        for index in range(3):
            torch.testing.assert_close(
                blocks[name].values[index, 0], by_hand(connector, name, index), rtol=1e-4, atol=1e-5
            )
            assert blocks[name].seconds[index, 0].tolist() == [0.0, float(f.mask[index].any(-1).sum())]


def test_streams_may_come_in_pushes_of_their_own():
    connector = build()
    expected, _ = connector(GIVEN, *PAIRS)
    state = connector.begin(*PAIRS)
    for name, start, end in [("sound", 0, 2), ("video", 0, 4), ("sound", 2, 5), ("video", 4, 5)]:
        state = connector.push(state, {name: cut(GIVEN[name], start, end)})
    blocks, _ = connector.read(state)
    for name in GIVEN:
        torch.testing.assert_close(blocks[name].values, expected[name].values, rtol=1e-4, atol=1e-5)


def test_reading_commits_nothing_and_old_states_stay():
    connector = build()
    first = connector.push(connector.begin(*PAIRS), {name: cut(f, 0, 2) for name, f in GIVEN.items()})
    before, _ = connector.read(first)
    rest = {name: cut(f, 2, 5) for name, f in GIVEN.items()}
    expected, _ = connector.read(connector.push(first, rest))
    again, _ = connector.read(first)
    assert torch.equal(again["video"].values, before["video"].values)
    got, _ = connector.read(connector.push(first, rest))
    assert torch.equal(got["video"].values, expected["video"].values)


def test_exception_in_a_commit_leaves_the_state_valid(monkeypatch):
    connector = build()
    first = connector.push(connector.begin(*PAIRS), {name: cut(f, 0, 2) for name, f in GIVEN.items()})
    rest = {name: cut(f, 2, 5) for name, f in GIVEN.items()}
    expected, _ = connector.read(connector.push(first, rest))
    trunk = connector.trunks["fading"]
    steps = iter([True, False])
    forward = trunk.step

    def fails_at_the_second_segment(*arguments, **named):
        if not next(steps):
            raise RuntimeError("out of memory")
        return forward(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(trunk, "step", fails_at_the_second_segment)
        with pytest.raises(RuntimeError, match="out of memory"):
            connector.push(first, rest)
    got, _ = connector.read(connector.push(first, rest))
    assert torch.equal(got["video"].values, expected["video"].values)


def test_a_configuration_must_declare_its_memory(monkeypatch):
    monkeypatch.setattr(FadingConfig, "has_memory", False)
    with pytest.raises(ConfigError, match="trunk 'fading' has has_memory=True, but its configuration states False"):
        build()


def test_times_beyond_the_table():
    """`clamp` repeats the last row; `last` marks the segment that is asked about, and it alone."""
    plain = build()
    blocks, _ = plain(GIVEN, *PAIRS)
    for rule, row in [("clamp", 1), ("last", 0)]:
        connector = build(num_time_positions=2, beyond_times=rule, last_time_position=row)
        connector.load_state_dict(plain.state_dict(), strict=False)
        same, _ = connector(GIVEN, *PAIRS)
        torch.testing.assert_close(same["video"].values, blocks["video"].values)
        for port in connector.ports.values():
            nn.init.normal_(port.time_embedding)
        got, _ = connector(GIVEN, *PAIRS)
        for name, f in GIVEN.items():
            table = connector.ports[name].time_embedding
            for index in range(3):
                real = f.values[index][f.mask[index].any(-1)]
                rows = [min(step, 1) for step in range(len(real))]
                times = (
                    table[rows] if rule == "clamp" else table[:1] * (torch.arange(len(real)) == len(real) - 1)[:, None]
                )
                seen = torch.zeros(4)
                for segment in (real + times[:, None]).unbind(0):
                    seen = seen / 2 + connector.trunks["fading"].linear(segment.mean(0))
                port = connector.ports[name]
                adapter = list(connector.ports).index(name)
                expected = port.output_proj(port.query_tokens[0] + torch.tanh(seen + adapter))
                torch.testing.assert_close(got[name].values[index, 0], expected, rtol=1e-4, atol=1e-5)


def test_marking_the_last_segment_is_undone_by_the_next():
    connector = build(num_time_positions=2, beyond_times="last")
    for port in connector.ports.values():
        nn.init.normal_(port.time_embedding)
    whole, _ = connector(GIVEN, *PAIRS)
    state = connector.begin(*PAIRS)
    for start in range(5):
        state = connector.push(state, {name: cut(f, start, start + 1) for name, f in GIVEN.items()})
        connector.read(state)
    pieces, _ = connector.read(state)
    torch.testing.assert_close(pieces["video"].values, whole["video"].values, rtol=1e-4, atol=1e-5)


def test_faults():
    with pytest.raises(ConfigError, match=r"last_time_position \(3\) is not one of its 3 time positions"):
        build(num_time_positions=3, beyond_times="last", last_time_position=3)
    with pytest.raises(ConfigError, match="beyond_times='last' marks the segment that the question is about"):
        build(beyond_times="last")
    with pytest.raises(ConfigError, match="has a memory and sees segment by segment; use span='group'"):
        build(span="clip")
    ports = {
        "video": PortConfig(trunk="fading", input_width=5, num_query_tokens=3),
        "sound": PortConfig(trunk="fading", input_width=5, num_query_tokens=2),
    }
    with pytest.raises(ConfigError, match="share its memory and need equal query counts"):
        ConnectorConfig(trunks={"fading": FadingConfig()}, ports=ports, output_width=6).build()
    with pytest.raises(ShapeError, match="stream 'video' has 5 segments, its time table 4 rows"):
        build(num_time_positions=4)(GIVEN, *PAIRS)


def test_what_the_memory_holds_is_reported_per_item_where_somebody_asks():
    from vidweave.connectors.qformer import QFormerConfig
    from vidweave.connectors.qformer_memory import MemoryConfig

    trunk = QFormerConfig(hidden=8, layers=2, heads=2, intermediate=8, encoder_width=5, memory=MemoryConfig(length=2))
    port = PortConfig(trunk="q", input_width=5, num_query_tokens=3)
    connector = (
        ConnectorConfig(trunks={"q": trunk}, ports={"video": port, "sound": port}, output_width=6).build().eval()
    )
    item, scene = torch.tensor([0, 1]), torch.tensor([0, 0])

    def seen(segments):
        seconds = torch.arange(float(segments))[None, :, None] + torch.tensor([0.0, 1.0])
        mask = torch.ones(2, segments, 7, dtype=torch.bool)
        return Features(torch.randn(2, segments, 7, 5), mask, seconds.repeat(2, 1, 1), item, scene)

    with torch.no_grad():
        state = connector.push(connector.begin(item, scene), {"video": seen(3), "sound": seen(6)})
        info = connector.read(state)[1]
    assert [(message["stream"], message["segments"]) for message in info["memory"].make(0, False)] == [
        ("video", 3),
        ("sound", 6),
    ]
    (_, message) = info["memory"].make(1, True)
    assert (message["seconds"], message["scene"], list(message["banks"])) == ([0.0, 6.0], 0, ["visual", "layer 1"])
    assert all(sum(sizes) == 5 for sizes in message["banks"]["visual"]["sizes"])
    assert "memory" not in connector.read(state)[1]  # nothing is told where gradients are kept
