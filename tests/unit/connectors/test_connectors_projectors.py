import pytest
import torch

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.counts import block_segments
from vidweave.connectors.mlp import MLPConfig, head_widths
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.projectors import ProjectorConfig
from vidweave.connectors.resampler import ResamplerConfig
from vidweave.errors import ConfigError, ShapeError
from vidweave.nn.grid import pool_grid
from vidweave.registry import TRUNKS
from vidweave.testing import check_trunk
from vidweave.types import Features, TrunkInput, component_from_dict

WIDTH, OUT, SIDE = 6, 10, 5
KINDS = {
    "average": ProjectorConfig(key_width=WIDTH, num_tokens=9, widths=(OUT,)),
    "average-halves": ProjectorConfig(key_width=WIDTH, num_tokens=9, time=2, widths=(7, OUT)),
    "conv2d": ProjectorConfig(key_width=WIDTH, pooling="conv2d", num_tokens=4, conv_width=8, widths=(OUT,)),
    "conv3d": ProjectorConfig(key_width=WIDTH, pooling="conv3d", num_tokens=4, widths=(OUT,)),
    "conv3d-halves": ProjectorConfig(
        key_width=WIDTH, pooling="conv3d", num_tokens=4, conv_width=8, time=2, widths=(OUT,)
    ),
}


def features(lengths, tokens=SIDE * SIDE, start=0):
    generator = torch.Generator().manual_seed(3)
    longest = max(lengths)
    real = torch.arange(longest) < torch.tensor(lengths)[:, None]
    values = torch.randn(len(lengths), longest, tokens, WIDTH, generator=generator)
    seconds = torch.stack([torch.arange(longest), torch.arange(longest) + 1]).T.float().expand(len(lengths), -1, -1)
    item = torch.arange(len(lengths))
    values = values.masked_fill(~real[:, :, None, None], torch.nan)
    return Features(values, real[..., None].expand(-1, -1, tokens).clone(), seconds, item, torch.zeros_like(item))


def cut(f, start, end):
    return Features(f.values[:, start:end], f.mask[:, start:end], f.seconds[:, start:end], f.item, f.scene)


def connector(config, **changes):
    torch.manual_seed(0)
    port = PortConfig(trunk="video", input_width=WIDTH, output_proj=False, **changes)
    made = ConnectorConfig(trunks={"video": config}, ports={"video": port}, output_width=OUT)
    return made, made.build().eval()


def spans(config):
    return ["clip"] if config.needs_clip else ["group", "clip"]


@pytest.mark.parametrize(("kind", "span"), [(kind, span) for kind, config in KINDS.items() for span in spans(config)])
@torch.no_grad()
def test_batch_pieces_and_counts(kind, span):
    """Rows of unequal length equal themselves alone, pushed in pieces too, and the prompt knows their segments before."""
    made, built = connector(KINDS[kind], span=span)
    whole = features([6, 2, 4])
    pairs = whole.item, whole.scene
    blocks, _ = built({"video": whole}, *pairs)
    counts = block_segments(made, {("video", i, 0): n for i, n in enumerate((6, 2, 4))}, [(i, 0) for i in range(3)])
    state = built.begin(*pairs)
    for start, end in ((0, 1), (1, 4), (4, 6)):
        state = built.push(state, {"video": cut(whole, start, end)})
    pieces, _ = built.read(state)
    for row, length in enumerate((6, 2, 4)):
        video = blocks["video"]
        got = video.values[row][video.mask[row]]
        assert int(video.mask[row].any(-1).sum()) == counts["video", row, 0] == length // KINDS[kind].time
        only = cut(whole, 0, length)
        one = Features(only.values[[row]], only.mask[[row]], only.seconds[[row]], whole.item[:1], whole.scene[:1])
        alone, _ = built({"video": one}, whole.item[:1], whole.scene[:1])
        torch.testing.assert_close(alone["video"].values[0].flatten(0, 1), got)
        torch.testing.assert_close(pieces["video"].values[row][pieces["video"].mask[row]], got)
        end = float(video.seconds[row][video.mask[row].any(-1)][-1, 1])
        assert end == length


@torch.no_grad()
def test_average_and_linear_head_commute():
    _, built = connector(KINDS["average"])
    f = features([3])
    head = built.trunks["video"].head.layers[0]
    blocks, _ = built({"video": f}, f.item, f.scene)
    torch.testing.assert_close(blocks["video"].values[0], pool_grid(head(f.values[0]), 3))


@torch.no_grad()
def test_convolution_over_time_sees_neighbours_only():
    _, built = connector(KINDS["conv3d"], span="clip")
    f = features([6])
    before, _ = built({"video": f}, f.item, f.scene)
    f.values[0, 5] += 1
    after, _ = built({"video": f}, f.item, f.scene)
    changed = (before["video"].values != after["video"].values).flatten(2).any(2)[0]
    assert changed.tolist() == [False] * 4 + [True] * 2


def test_one_segment_alone():
    trunk = KINDS["conv2d"].build().eval()
    hidden = trunk(TrunkInput(None, torch.randn(3, SIDE**2, WIDTH)))
    assert hidden.shape == (3, 4, OUT)
    assert trunk(TrunkInput(None, torch.randn(0, SIDE**2, WIDTH))).shape == (0, 4, OUT)
    with pytest.raises(ConfigError, match="takes no queries"):
        trunk(TrunkInput(torch.zeros(3, 2, WIDTH), torch.randn(3, SIDE**2, WIDTH)))
    with pytest.raises(ConfigError, match="merges 2 segments; give it whole clips"):
        KINDS["average-halves"].build()(TrunkInput(None, torch.randn(3, SIDE**2, WIDTH)))


def test_resampler_keeps_the_contract_of_trunks():
    check_trunk(ResamplerConfig(key_width=16, heads=4).build().eval())


def test_resampler_with_a_head_takes_queries_of_the_keys_width():
    config = ResamplerConfig(key_width=WIDTH, heads=2, widths=head_widths("mlp", WIDTH, OUT))
    _, built = connector(config, num_query_tokens=3)
    assert built.ports["video"].query_tokens.shape == (1, 3, WIDTH)
    f = features([2, 1])
    assert built({"video": f}, f.item, f.scene)[0]["video"].values.shape == (2, 2, 3, OUT)


def test_paper_sizes():
    """One 1024-wide encoder, 64 tokens, width 4096 (spec 1.5)."""

    def millions(config, queries=0):
        with torch.device("meta"):
            return (sum(p.numel() for p in config.build().parameters()) + queries * 1024) / 1e6

    conv = {"key_width": 1024, "num_tokens": 64, "conv_width": 4096, "widths": (4096,)}
    assert millions(MLPConfig(key_width=1024, widths=head_widths("linear", 1024, 4096))) == pytest.approx(
        4.20, abs=0.005
    )
    assert millions(MLPConfig(key_width=1024, widths=head_widths("mlp", 1024, 4096))) == pytest.approx(20.98, abs=0.005)
    resampler = ResamplerConfig(key_width=1024, widths=(4096,))
    assert millions(resampler, queries=64) == pytest.approx(16.86, abs=0.005)
    assert millions(ProjectorConfig(pooling="conv2d", **conv)) == pytest.approx(254.2, abs=0.05)
    assert millions(ProjectorConfig(pooling="conv3d", **conv)) == pytest.approx(130.0, abs=0.05)


@pytest.mark.parametrize("config", [*KINDS.values(), ResamplerConfig(key_width=8, widths=(3,))])
def test_config_round_trip(config):
    assert component_from_dict(TRUNKS, config.to_dict()) == config


def test_faults():
    with pytest.raises(
        ConfigError, match="token budget of a segment, needs a square number of tokens, got 60; nearest: 49, 64"
    ):
        ProjectorConfig(key_width=8, num_tokens=60)
    with pytest.raises(ConfigError, match="pooling='conv2d' keeps every segment; time=2 needs 'average' or 'conv3d'"):
        ProjectorConfig(key_width=8, num_tokens=4, pooling="conv2d", time=2)
    with pytest.raises(ConfigError, match="conv_width=3 does nothing with pooling='average'"):
        ProjectorConfig(key_width=8, num_tokens=4, conv_width=3)
    with pytest.raises(ConfigError, match="must be at least 1"):
        ResamplerConfig(key_width=0)
    with pytest.raises(ConfigError, match="merges neighboring segments; use span='clip'"):
        connector(KINDS["conv3d"])
    _, built = connector(KINDS["average-halves"], span="clip")
    odd = features([4, 3])
    with pytest.raises(ShapeError, match="merges 2 segments to one, a clip has 3; change its num_frames"):
        built({"video": odd}, odd.item, odd.scene)
    _, built = connector(KINDS["average"])
    line = features([2], tokens=6)
    with pytest.raises(ShapeError, match="a pooling projector needs a square number of tokens, got 6"):
        built({"video": line}, line.item, line.scene)
    torn = features([2])
    torn.mask[0, 1, 3] = False
    with pytest.raises(ShapeError, match="segment 1 of row 0 has 24 of 25 tokens; a grid needs all"):
        built({"video": torn}, torn.item, torn.scene)
