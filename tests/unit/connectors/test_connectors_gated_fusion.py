"""Self-gated fusion against its formula, with streams that some rows lack, and grown by one."""

import pytest
import torch
from test_connectors_connector import build, features, pairs, port
from torch.nn import functional

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.counts import block_segments
from vidweave.connectors.gated_fusion import GatedAddConfig, GatedAppendConfig
from vidweave.connectors.qformer import QFormerConfig
from vidweave.errors import ConfigError, ShapeError, UnknownNameError
from vidweave.types import Features

NAMES = ("video", "audio", "depth")
ADD = GatedAddConfig(align_stream={"audio": "mean_repeat"})
APPEND = GatedAppendConfig(align_stream={"audio": "mean_repeat"})


def connector(fusion, names=NAMES, **changes):
    return build({name: port(**{"absent": "skip", **changes}) for name in names}, fusion=fusion)


def seen(**lengths):
    return {name: features(rows, seed=i) for i, (name, rows) in enumerate(lengths.items())}


def plain(whole, given, rows):
    """The blocks before fusion."""
    return connector_none(whole)(given, *pairs(rows))[0]


def connector_none(whole):
    alone = build({name: port(absent="skip") for name in whole.ports})
    alone.load_state_dict({k: v for k, v in whole.state_dict().items() if not k.startswith("fusion.")})
    return alone


def expected_gate(whole, blocks):
    """The formula of the paper's one matrix: over the audio's mean and the depth, side by side."""
    audio = blocks["audio"].values.mean(1, keepdim=True).expand_as(blocks["video"].values)
    weight = torch.cat([whole.fusion.weights["audio"], whole.fusion.weights["depth"]], 1)
    total = functional.linear(torch.cat([audio, blocks["depth"].values], -1), weight, whole.fusion.bias)
    return total.sigmoid() * total


@pytest.mark.parametrize("fusion", [ADD, APPEND])
def test_the_formula(fusion):
    whole = connector(fusion)
    given = seen(video=[4, 4], audio=[2, 2], depth=[4, 4])
    blocks, result = plain(whole, given, 2), whole(given, *pairs(2))[0]
    gate = expected_gate(whole, blocks)
    if fusion is ADD:
        assert list(result) == ["video"]
        torch.testing.assert_close(result["video"].values, blocks["video"].values + gate)
    else:
        assert list(result) == ["video", "fused"]
        assert torch.equal(result["video"].values, blocks["video"].values)
        torch.testing.assert_close(result["fused"].values, gate)
        assert torch.equal(result["fused"].seconds, result["video"].seconds)


@pytest.mark.parametrize("fusion", [ADD, APPEND])
def test_the_number_of_tokens_does_not_depend_on_the_number_of_streams(fusion):
    counts = set()
    for given in (seen(video=[4], depth=[4]), seen(video=[4], audio=[2]), seen(video=[4], audio=[2], depth=[4])):
        counts.add(sum(int(block.mask.sum()) for block in connector(fusion)(given, *pairs(1))[0].values()))
    assert len(counts) == 1


@pytest.mark.parametrize("fusion", [ADD, APPEND])
def test_rows_that_lack_streams_equal_those_rows_alone(fusion):
    """Row 0 has all, row 1 no audio, row 2 only video, row 3 only audio: in a batch as alone, with the planned segments."""
    whole = connector(fusion)
    lengths = {"video": [3, 2, 2, 0], "audio": [2, 0, 0, 3], "depth": [3, 4, 0, 0]}
    given = seen(**lengths)
    result, _ = whole(given, *pairs(4))
    planned = block_segments(
        ConnectorConfig(
            trunks={"qformer": QFormerConfig(hidden=12, layers=2, heads=3, intermediate=10, encoder_width=14)},
            ports={name: port(absent="skip") for name in NAMES}, output_width=9, fusion=fusion,
        ),
        {(name, i, 0): n for name, rows in lengths.items() for i, n in enumerate(rows)},
        [(i, 0) for i in range(4)],
    )  # fmt: skip
    assert planned == {
        (name, int(item), 0): int(real)
        for name, block in result.items()
        for item, real in zip(block.item, block.mask.any(-1).sum(1), strict=True)
    }
    for row in range(4):
        alone = {n: one_row(f, row) for n, f in given.items() if f.mask[row].any()}
        expected, _ = whole(alone, *pairs(1))
        for name, block in expected.items():
            if not len(block.item):
                assert row not in result[name].item
                continue
            at = result[name].item.tolist().index(row)
            torch.testing.assert_close(result[name].values[at][result[name].mask[at]], block.values[0][block.mask[0]])


def one_row(f, index):
    length = int(f.mask[index].any(-1).sum())
    parts = (f.values[[index], :length], f.mask[[index], :length], f.seconds[[index], :length])
    return Features(*parts, torch.zeros(1, dtype=torch.long), f.scene[[index]])


def test_video_alone_stays_as_it_is():
    whole = connector(ADD)
    given = seen(video=[3, 2])
    assert torch.equal(whole(given, *pairs(2))[0]["video"].values, plain(whole, given, 2)["video"].values)
    assert list(connector(APPEND)(given, *pairs(2))[0]) == ["video", "fused"]
    assert len(connector(APPEND)(given, *pairs(2))[0]["fused"].item) == 0


@pytest.mark.parametrize("fusion", [ADD, APPEND])
def test_weights_of_what_no_row_has_get_no_gradient(fusion):
    """None, not zero: an optimizer would shrink what has a gradient of zero by weight decay, and move it by momentum."""
    whole = connector(fusion)

    def trained(**lengths):
        whole.zero_grad()
        blocks, _ = whole(seen(**lengths), *pairs(2))
        sum(block.values.square().sum() for block in blocks.values()).backward()
        return {name for name, p in whole.fusion.named_parameters() if p.grad is not None}

    assert trained(video=[3, 2], depth=[3, 0]) == {"weights.depth", "bias"}
    assert trained(video=[3, 2]) == set()


@pytest.mark.parametrize("fusion", [ADD, APPEND])
def test_a_stream_more_with_a_matrix_of_zeros_changes_no_bit(fusion):
    old, new = connector(fusion), connector(fusion, (*NAMES, "touch"))
    new.load_state_dict(old.state_dict(), strict=False)
    torch.nn.init.zeros_(new.fusion.weights["touch"])
    given = seen(video=[3, 2], audio=[2, 1], depth=[3, 2])
    before = old(given, *pairs(2))[0]
    for more in ({}, {"touch": features([3, 2], seed=9)}):
        after = new({**given, **more}, *pairs(2))[0]
        assert all(torch.equal(after[name].values, block.values) for name, block in before.items())


def test_the_order_of_streams_is_in_the_names_of_the_weights():
    whole, other = connector(ADD), connector(ADD, ("video", "depth", "audio"))
    other.load_state_dict(whole.state_dict())
    given = seen(video=[3], audio=[2], depth=[3])
    torch.testing.assert_close(other(given, *pairs(1))[0]["video"].values, whole(given, *pairs(1))[0]["video"].values)
    with pytest.raises(RuntimeError, match=r"Missing key.*fusion.weights.touch"):
        connector(ADD, ("video", "touch", "audio")).load_state_dict(whole.state_dict())


def test_gates_and_shares_are_reported():
    _, info = connector(ADD)(seen(video=[3, 2], audio=[2, 0], depth=[3, 0]), *pairs(2))
    (gate,) = info["gates"]  # the second row has nothing that could be gated
    assert (gate["item"], gate["scene"], list(gate["share"])) == (0, 0, ["audio", "depth"])
    assert 0 < gate["gate"] < 1
    assert sum(gate["share"].values()) == pytest.approx(1)
    assert "gates" not in connector(ADD).train()(seen(video=[3], audio=[2]), *pairs(1))[1]


def test_streams_outside_stay_blocks():
    whole = connector(GatedAddConfig(streams=("video", "depth")))
    result, _ = whole(seen(video=[3], audio=[2], depth=[3]), *pairs(1))
    assert list(result) == ["video", "audio"]
    assert whole.block_names == ("video", "audio")


def test_what_it_refuses():
    with pytest.raises(UnknownNameError, match="unknown stream of the fusion 'deph'; did you mean 'depth'"):
        connector(GatedAddConfig(streams=("video", "deph")))
    with pytest.raises(ConfigError, match="joins two streams or more, each once"):
        connector(GatedAddConfig(streams=("video",)))
    with pytest.raises(ConfigError, match="named 'audio' like a stream"):
        connector(GatedAppendConfig(name="audio"))
    uneven = build({"video": port(), "depth": port(num_query_tokens=2)}, fusion=GatedAddConfig())
    with pytest.raises(ShapeError, match=r"unequal numbers of tokens \(\{'video': 3, 'depth': 2\}\)"):
        uneven(seen(video=[3], depth=[3]), *pairs(1))
    exact = connector(GatedAddConfig(align="exact"), ("video", "depth"))
    with pytest.raises(ShapeError, match="'depth' has 2 segments, the reference 3"):
        exact(seen(video=[3], depth=[2]), *pairs(1))
