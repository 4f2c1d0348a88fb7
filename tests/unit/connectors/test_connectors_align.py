import pytest
import torch

from vidweave.connectors.align import align
from vidweave.connectors.fusion import ConcatFusionConfig, NoFusionConfig
from vidweave.connectors.segments import append, compact, place, whole_span
from vidweave.errors import ConfigError, ShapeError, UnknownNameError
from vidweave.registry import FUSIONS
from vidweave.types import Blocks, component_from_dict


def blocks(times, *, tokens=2, width=3, seed=0):
    """Rows of segments that last a second, from their start times; None is a gap."""
    torch.manual_seed(seed)
    longest = max(map(len, times))
    real = torch.tensor([[t is not None for t in row] + [False] * (longest - len(row)) for row in times])
    start = torch.tensor([[t or 0.0 for t in row] + [0.0] * (longest - len(row)) for row in times])
    rows = len(times)
    return Blocks(
        torch.randn(rows, longest, tokens, width),
        real[..., None].repeat(1, 1, tokens),
        torch.stack([start, start + 1], -1),
        torch.arange(rows),
        torch.zeros(rows, dtype=torch.long),
    )


def to(block, reference, rule):
    return align(block, reference.seconds, reference.mask.any(-1), rule, "sound")


def test_nearest_takes_the_earlier_of_two():
    block, reference = blocks([[0.0, 2.0, 9.0], [5.0]]), blocks([[0.0, 1.0, 3.0, 99.0], [0.0, 7.0]], seed=1)
    got = to(block, reference, "nearest")
    assert torch.equal(got.values[0], block.values[0, [0, 0, 1, 2]])
    assert torch.equal(got.values[1, :2], block.values[1, [0, 0]])
    assert got.mask[..., 0].tolist() == [[True] * 4, [True, True, False, False]]
    assert torch.equal(got.seconds, reference.seconds)


def test_nearest_never_takes_a_gap():
    got = to(blocks([[None, 8.0, None]]), blocks([[0.0, 1.0]]), "nearest")
    assert got.mask.all()


def test_exact_is_the_identity_up_to_gaps_and_rounding():
    block = blocks([[0.0, 1.0, 2.0], [4.0]])
    shifted = blocks([[0.001, None, 1.0, 2.0], [4.0]], seed=1)
    got = to(shifted, block, "exact")
    assert torch.equal(got.values[0], shifted.values[0, [0, 2, 3]])
    assert torch.equal(got.values[1, 0], shifted.values[1, 0])
    assert torch.equal(got.mask, block.mask)


def test_exact_names_the_difference():
    with pytest.raises(ShapeError, match="row 1: block 'sound' has 2 segments, the reference 1"):
        to(blocks([[0.0], [0.0, 1.0]]), blocks([[0.0], [0.0]]), "exact")
    with pytest.raises(ShapeError, match=r"row 0, segment 1: block 'sound' is at 2.500 s, the reference at 1.500 s"):
        to(blocks([[0.0, 2.0]]), blocks([[0.0, 1.0]]), "exact")


def test_mean_repeat_counts_real_tokens_only():
    block, reference = blocks([[0.0, 1.0, None], [3.0]]), blocks([[0.0, 5.0], [1.0]], seed=1)
    block.mask[0, 1, 1] = False
    got = to(block, reference, "mean_repeat")
    torch.testing.assert_close(got.values[0, 0, 0], block.values[0, :2, 0].mean(0))
    torch.testing.assert_close(got.values[0, 1, 1], block.values[0, 0, 1])
    assert torch.equal(got.mask, reference.mask)


@pytest.mark.parametrize("rule", ["nearest", "mean_repeat"])
def test_nothing_stays_masked(rule):
    reference = blocks([[0.0, 1.0], [0.0]])
    for block in (blocks([[None, None], [None]]), blocks([[None], [None]])):
        got = to(block, reference, rule)
        assert got.values.shape == (2, 2, 2, 3)
        assert not got.mask.any()
    empty = compact(blocks([[None], [None]]))
    assert empty.values.shape[1] == 0
    assert not to(empty, reference, rule).mask.any()


def test_alignment_of_a_row_does_not_see_other_rows():
    block, reference = blocks([[0.0, 2.0, 9.0], [5.0]]), blocks([[0.0, 1.0, 3.0, 99.0], [0.0, 7.0]], seed=1)
    for rule in ("nearest", "mean_repeat"):
        batch = to(block, reference, rule)
        alone = to(compact(_row(block, 1)), compact(_row(reference, 1)), rule)
        assert torch.equal(alone.values[0], batch.values[1, :2])


def _row(block, index):
    return Blocks(*(getattr(block, n)[[index]] for n in ("values", "mask", "seconds", "item", "scene")))


def test_concat_puts_tokens_side_by_side():
    video, audio, depth = blocks([[0.0, 1.0]], tokens=2), blocks([[0.5]], tokens=3, seed=1), blocks([[7.0]], seed=2)
    fusion = ConcatFusionConfig(streams=("video", "sound")).build(("depth", "sound", "video"))
    assert fusion.block_names == ("fused", "depth")
    got, info = fusion({"video": video, "sound": audio, "depth": depth})
    assert list(got) == ["fused", "depth"]
    assert torch.equal(got["fused"].values[0, 1], torch.cat([video.values[0, 1], audio.values[0, 0]]))
    assert got["depth"] is depth
    assert info == {"fused": {"fused": ["video", "sound"]}}


def test_no_fusion_names_blocks_like_streams():
    fusion = NoFusionConfig().build(("video", "sound"))
    given = {"video": blocks([[0.0]]), "sound": blocks([[0.0]])}
    assert fusion(given) == (given, {})
    assert fusion.block_names == ("video", "sound")


def test_fusion_faults_and_round_trip():
    with pytest.raises(UnknownNameError, match="unknown stream of the fusion 'vidoe'; did you mean 'video'"):
        ConcatFusionConfig(streams=("vidoe",)).build(("video",))
    with pytest.raises(ConfigError, match="named 'depth' like a stream that is not fused"):
        ConcatFusionConfig(name="depth", streams=("video",)).build(("video", "depth"))
    for config in (NoFusionConfig(), ConcatFusionConfig(streams=("a", "b"), align="exact", name="x")):
        assert component_from_dict(FUSIONS, config.to_dict()) == config


def test_compact_keeps_order_and_cuts():
    block = blocks([[None, 3.0, None, 4.0], [1.0, None, None, None]])
    got = compact(block)
    assert torch.equal(got.values[0], block.values[0, [1, 3]])
    assert got.mask[..., 0].tolist() == [[True, True], [True, False]]
    assert compact(got) is got
    assert compact(blocks([[1.0, 2.0], [3.0]])).values.shape[1] == 2


def test_append_closes_gaps_between_pieces():
    first, second = blocks([[0.0, 1.0], [0.0]]), blocks([[2.0], [1.0, 2.0]], seed=1)
    got = append(append(None, first), second)
    assert got.mask[..., 0].sum(1).tolist() == [3, 3]
    assert got.seconds[:, :, 0].tolist() == [[0.0, 1.0, 2.0]] * 2
    assert torch.equal(got.values[1, 1:], second.values[1])
    with pytest.raises(ShapeError, match="a stream must keep its shape"):
        append(first, blocks([[2.0], [3.0]], tokens=3))


def test_place_leaves_holes_for_missing_rows():
    block = blocks([[0.0, 1.0], [5.0]])
    got = place(block, torch.tensor([3, 1, 0]), torch.zeros(3, dtype=torch.long), "video")
    assert got.item.tolist() == [3, 1, 0]
    assert torch.equal(got.values[[1, 2]], block.values[[1, 0]])
    assert not got.mask[0].any()


def test_whole_span():
    block = blocks([[None, 3.0, 7.0], [None, None, None]])
    assert whole_span(block.seconds, block.mask.any(-1)).tolist() == [[3.0, 8.0], [0.0, 0.0]]
    assert whole_span(torch.zeros(2, 0, 2), torch.zeros(2, 0, dtype=torch.bool)).tolist() == [[0.0, 0.0]] * 2
