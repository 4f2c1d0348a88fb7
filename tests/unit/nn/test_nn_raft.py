import pytest
import torch

from vidweave.errors import CheckpointError, ShapeError
from vidweave.nn.raft import RAFT_KEYS, Raft, consecutive, raft_from_published
from vidweave.nn.raft_correlation import CorrelationPyramid, pixel_grid


@pytest.fixture(scope="module")
def raft():
    torch.manual_seed(3)
    return Raft().eval()


@pytest.fixture(scope="module")
def pictures():
    return torch.randint(0, 256, (4, 3, 131, 150), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_window_equals_bilinear_sampling():
    first, second = torch.randn(2, 2, 6, 20, 24)
    pyramid = CorrelationPyramid(first, second, levels=3, radius=2)
    points = pixel_grid(20, 24, first) + 9 * torch.randn(2, 2, 20, 24)  # some far outside
    got = pyramid.around(points)
    step = torch.arange(-2.0, 3.0)
    offset = torch.stack(torch.meshgrid(step, step, indexing="ij"), -1)  # the first axis moves x
    centre = points.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2)
    for level, score in enumerate(pyramid.levels):
        height, width = score.shape[-2:]
        place = (centre / 2**level + offset) * 2 / torch.tensor([width - 1.0, height - 1.0]) - 1
        expected = torch.nn.functional.grid_sample(score, place, align_corners=True).view(2, 20, 24, 25)
        torch.testing.assert_close(
            got[:, 25 * level : 25 * (level + 1)], expected.permute(0, 3, 1, 2), atol=1e-4, rtol=1e-4
        )


@torch.no_grad()
def test_any_chunk_and_any_order_give_the_same_and_each_frame_is_encoded_once(raft, pictures):
    seen = []
    hook = raft.fnet.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    whole = raft(pictures, iterations=2)
    assert seen == [4]
    seen.clear()
    parts = raft(pictures, iterations=2, chunk=1)
    assert seen == [2, 1, 1]
    hook.remove()
    assert whole.shape == (3, 2, 131, 150)
    torch.testing.assert_close(parts, whole, atol=1e-3, rtol=1e-3)
    back = raft(pictures, torch.tensor([[1, 2], [0, 1]]), iterations=2)
    torch.testing.assert_close(back, whole[[1, 0]], atol=1e-3, rtol=1e-3)
    assert raft(pictures[:1], iterations=1).shape == (0, 2, 131, 150)
    assert consecutive(0).shape == (0, 2)


@torch.no_grad()
def test_training_mode_changes_nothing(raft, pictures):
    expected = raft(pictures[:2], iterations=1)
    try:
        torch.testing.assert_close(raft.train()(pictures[:2], iterations=1), expected)
    finally:
        raft.eval()


def test_small_frames_are_refused(raft):
    with pytest.raises(ShapeError, match=r"at least 128 pixels per side, got \(2, 3, 120, 200\); enlarge them first"):
        raft(torch.zeros(2, 3, 120, 200))


def test_size_and_published_names(raft):
    assert sum(p.numel() for p in raft.parameters()) == 5_257_536
    theirs = RAFT_KEYS.to_theirs(raft.state_dict())
    assert {"cnet.layer2.0.norm3.running_mean", "fnet.layer3.0.downsample.0.weight"} <= set(theirs)
    assert {"update_block.gru.convq2.bias", "update_block.mask.2.weight"} <= set(theirs)
    aliases = {k.replace(".norm3.", ".downsample.1."): v for k, v in theirs.items() if ".norm3." in k}
    again = raft_from_published({f"module.{k}": v for k, v in (theirs | aliases).items()})
    assert set(again) == set(raft.state_dict())
    with pytest.raises(CheckpointError, match="1 keys of the other layout are not in the key table: extra"):
        raft_from_published({"module.extra": torch.zeros(1)})
