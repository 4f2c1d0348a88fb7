import pytest
import torch

from vidweave.connectors.fusion import ConcatFusionConfig
from vidweave.connectors.mixer import ChannelConcatConfig, MixerConfig, fold
from vidweave.errors import ConfigError, ShapeError, UnknownNameError
from vidweave.registry import FUSIONS
from vidweave.types import Blocks, component_from_dict

WIDTH = 6
WEIGHTINGS = ("attention", "folded", "query_mlp", "scalar", "equal")


def block(lengths, tokens=3, seed=0, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    longest = max(lengths)
    real = torch.arange(longest) < torch.tensor(lengths)[:, None]
    values = torch.randn(len(lengths), longest, tokens, WIDTH, generator=generator)
    seconds = shift + torch.stack([torch.arange(longest), torch.arange(longest) + 1]).T.float()
    item = torch.arange(len(lengths))
    mask = real[..., None].expand(-1, -1, tokens).clone()
    return Blocks(values, mask, seconds.expand(len(lengths), -1, -1), item, torch.zeros_like(item))


def build(config, streams=("a", "b", "c")):
    torch.manual_seed(0)
    fusion = config.build(streams, WIDTH)
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return fusion


def three(lengths):
    return {name: block(lengths, seed=seed) for seed, name in enumerate("abc")}


def weights_of(info):
    rows = [info["encoder_weights"].make(item, False) for item in range(8)]
    return torch.tensor([list(scenes[0]["weights"].values()) for scenes in rows if scenes])


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_weighted_sum_whose_weights_are_reported(weighting):
    mixer = build(MixerConfig(name="mix", weighting=weighting, query_width=5))
    blocks = three([4, 4])
    fused, info = mixer(blocks)
    weights = weights_of(info)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    expected = sum(weights[:, e, None, None, None] * blocks[name].values for e, name in enumerate("abc"))
    torch.testing.assert_close(fused["mix"].values, expected)
    assert info["fused"] == {"mix": ["a", "b", "c"]}
    (message,) = info["encoder_weights"].make(1, False)
    assert message["seconds"] == blocks["a"].seconds[1].tolist()
    loud = blocks["b"].values[1].square().mean(-1).sqrt() * weights[1, 1]
    torch.testing.assert_close(torch.tensor(message["maps"]["b"]), loud, rtol=0, atol=1e-4)
    is_one_for_all = torch.allclose(weights[0], weights[1])
    assert is_one_for_all == (weighting in ("scalar", "equal"))


@pytest.mark.parametrize("config", [
    *(MixerConfig(name="mix", weighting=w, query_width=5) for w in WEIGHTINGS),
    ChannelConcatConfig(name="mix", norm=True),
    ConcatFusionConfig(name="mix", along="stream"),
])  # fmt: skip
def test_batch_equals_one_by_one(config):
    """Rows of unequal length, one of them without the first stream: padding and neighbours do not matter."""
    fusion = build(config)
    blocks = three([4, 2, 3])
    blocks["a"].mask[1] = False
    fused, _ = fusion(blocks)
    for row, length in enumerate((4, 2, 3)):
        cut = {
            n: Blocks(
                b.values[[row], :length], b.mask[[row], :length], b.seconds[[row], :length], b.item[:1], b.scene[:1]
            )
            for n, b in blocks.items()
        }
        alone, _ = fusion(cut)
        torch.testing.assert_close(
            alone["mix"].values[alone["mix"].mask], fused["mix"].values[row][fused["mix"].mask[row]]
        )
        counts = config.block_counts({n: int(b.mask[row].any(-1).sum()) for n, b in blocks.items()})
        assert int(fused["mix"].mask[row].any(-1).sum()) == counts["mix"]


def test_an_absent_stream_gets_no_weight():
    mixer = build(MixerConfig(query_width=5))
    blocks = three([3, 3])
    blocks["b"].mask[0] = False
    fused, info = mixer(blocks)
    assert weights_of(info)[0, 1] == 0
    blocks["b"].values[0] = torch.nan
    assert torch.equal(mixer(blocks)[0]["fused"].values, fused["fused"].values)


@pytest.mark.parametrize("flat_tokens", [0, 12])
def test_folded_equals_attention(flat_tokens):
    mixer = build(
        MixerConfig(name="mix", streams=("c", "a"), query_width=7, flat_tokens=flat_tokens, stream_embedding=True)
    )
    folded = fold(mixer)
    blocks = three([4, 4])
    (expected, info), (got, also) = mixer(blocks), folded(blocks)
    torch.testing.assert_close(got["mix"].values, expected["mix"].values, rtol=0, atol=1e-6)
    torch.testing.assert_close(weights_of(also), weights_of(info), rtol=0, atol=1e-6)
    assert folded.block_names == mixer.block_names == ("mix", "b")
    assert sum(p.numel() for p in folded.weighting.parameters()) == WIDTH * max(1, flat_tokens)
    with pytest.raises(ConfigError, match="only weighting='attention' can be folded, this mixer has 'folded'"):
        fold(folded)


def test_one_token_stands_for_a_whole_clip():
    mixer = build(MixerConfig(weighting="equal"), ("a", "b"))
    one = block([1, 1], tokens=1, seed=5)
    fused, _ = mixer({"a": block([4, 2]), "b": one})
    torch.testing.assert_close(fused["fused"].values[0] * 2, block([4, 2]).values[0] + one.values[0])


def test_the_account_of_a_long_clip_is_bounded():
    mixer = build(MixerConfig(weighting="equal"), ("a", "b"))
    _, info = mixer({"a": block([40]), "b": block([40], seed=1)})
    (short,), (full,) = (info["encoder_weights"].make(0, full) for full in (False, True))
    assert (len(short["maps"]["a"]), len(full["maps"]["b"])) == (16, 40)
    assert len(short["seconds"]) == 16


def test_channel_concat():
    fusion = build(ChannelConcatConfig(name="mix"))
    blocks = three([2, 2])
    joined = torch.cat([b.values for b in blocks.values()], -1)
    torch.testing.assert_close(fusion(blocks)[0]["mix"].values, fusion.proj(joined))


def test_one_stream_after_the_other():
    fusion = ConcatFusionConfig(along="stream").build(("a", "b"), WIDTH)
    a, b = block([2, 1]), block([3, 3], tokens=2, seed=1)
    fused = fusion({"a": a, "b": b})[0]["fused"]
    for row, length in enumerate((2, 1)):
        expected = torch.cat([a.values[row, :length].flatten(0, 1), b.values[row].flatten(0, 1)])
        assert torch.equal(fused.values[row][fused.mask[row]], expected)


def test_segments_in_order_whatever_their_times():
    mixer = build(MixerConfig(weighting="equal"), ("a", "b"))
    a, b = block([4, 2]), block([4, 2], seed=1, shift=7.5)
    torch.testing.assert_close((mixer({"a": a, "b": b})[0]["fused"].values * 2)[a.mask], (a.values + b.values)[a.mask])
    by_time = build(MixerConfig(weighting="equal", align="nearest"), ("a", "b"))
    torch.testing.assert_close(by_time({"a": a, "b": b})[0]["fused"].values[0] * 2, a.values[0] + b.values[0, 0])


def test_streams_with_unequal_frames_say_which_and_how_to_fix():
    mixer = build(MixerConfig(), ("a", "b"))
    with pytest.raises(ShapeError, match=r"block 'b' has 3 segments, the reference 4; give the streams equal numbers"):
        mixer({"a": block([4]), "b": block([3], seed=1)})
    config = MixerConfig(name="mix", streams=("a", "b"))
    with pytest.raises(ConfigError, match=r"block 'mix' .*unequal numbers of segments: 'a' 16, 'b' 8; give them"):
        config.check_counts({"a": 16, "b": 8, "c": 5})
    config.check_counts({"a": 16, "b": 1, "c": 5})
    MixerConfig(align="nearest").check_counts({"a": 16, "b": 8})
    ConcatFusionConfig(along="stream", align="exact").check_counts({"a": 16, "b": 8})


def test_paper_size():
    """44.06 M in the released module, of which its value and output layers (22.0 M) and two thirds of a bias are dead."""
    with torch.device("meta"):
        mixer = MixerConfig().build(tuple("abcd"), 4096)
    dead = 3072 * 4096 + 3072 * 3072 + 3 * 3072  # values, output and its bias, biases of keys and values
    live = sum(p.numel() for p in mixer.parameters())
    assert (live + dead) / 1e6 == pytest.approx(44.06, abs=0.005)
    assert dead / 1e6 == pytest.approx(22.0, abs=0.05)


@pytest.mark.parametrize("config", [MixerConfig(streams=("a",), weighting="scalar"), ChannelConcatConfig(norm=True)])
def test_config_round_trip(config):
    assert component_from_dict(FUSIONS, config.to_dict()) == config


def test_faults():
    with pytest.raises(UnknownNameError, match="stream of the fusion 'd'"):
        build(MixerConfig(streams=("d",)))
    with pytest.raises(ConfigError, match="sees no keys: leave out flat_tokens"):
        MixerConfig(weighting="scalar", flat_tokens=4)
    with pytest.raises(ConfigError, match="query_width must be at least 1"):
        MixerConfig(query_width=0)
    with pytest.raises(
        ShapeError, match=r"need equal numbers of tokens per segment, got \[3, 2\]; give them one token budget"
    ):
        build(MixerConfig(), ("a", "b"))({"a": block([2]), "b": block([2], tokens=2)})
    with pytest.raises(ShapeError, match="compares clips of 7 tokens"):
        build(MixerConfig(flat_tokens=7))(three([2]))
