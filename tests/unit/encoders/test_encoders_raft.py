import pytest
import torch

from vidweave.encoders.raft import RaftEncoderConfig
from vidweave.errors import ConfigError, ModalityError, ShapeError
from vidweave.nn.flow_patches import flow_patches
from vidweave.types import MotionSpec


def config(**changes):
    spec = MotionSpec(source="pictures", fps=2, height=128, width=136, normalize=changes.pop("normalize", "none"))
    return RaftEncoderConfig(height=128, width=136, patch=8, iterations=1, specs={"video": spec}, **changes)


@pytest.fixture(scope="module")
def clip():
    """Five pictures as four neighbouring pairs, and one pair of padding."""
    pictures = torch.randint(0, 256, (5, 3, 128, 136), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pairs = torch.stack([pictures[:-1], pictures[1:]], 1)
    return pictures, torch.cat([pairs, torch.zeros_like(pairs[:1])])[None, :, None]


@torch.no_grad()
def test_vectors_are_those_of_the_flow_and_pictures_are_encoded_once(clip):
    pictures, pairs = clip
    torch.manual_seed(1)
    encoder = config(chunk=2).build().eval()
    flow = encoder.raft(pictures, iterations=1)
    seen = []
    encoder.raft.fnet.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    vectors = encoder.encode(pairs, "video")
    assert sum(seen) == 5
    assert vectors.shape == (1, 5, 16 * 17, 128)
    torch.testing.assert_close(vectors[0, :4], flow_patches(flow, 8), atol=1e-3, rtol=1e-3)
    assert (vectors[0, 4] == 0).all()  # equal pictures have no motion


@torch.no_grad()
def test_pooled_and_divided_by_the_largest(clip):
    torch.manual_seed(1)
    encoder = config().build().eval()
    pooled = config(pooling="weighted", normalize="clip_max").build().eval()
    pooled.raft = encoder.raft
    pooled.pooling.copy_(torch.randn(16 * 17))
    plain = encoder.encode(clip[1], "video")
    x, y = plain.unflatten(-1, (2, 64)).unbind(-2)
    largest = (x**2 + y**2).sqrt().max()
    expected = pooled.pooling @ plain / (largest + 1e-5)
    torch.testing.assert_close(pooled.encode(clip[1], "video")[:, :, 0], expected, atol=1e-4, rtol=1e-3)


def test_what_does_not_fit_is_said():
    with pytest.raises(ConfigError, match="RAFT takes pictures of 128 x 136; the spec of 'video' gives flow of 4 x 4"):
        RaftEncoderConfig(
            height=128, width=136, patch=8, specs={"video": MotionSpec(source="flow", fps=2, height=4, width=4)}
        )
    with pytest.raises(ConfigError, match=r"the patch .9. must divide the pictures' size 128 x 136"):
        RaftEncoderConfig(height=128, width=136, patch=9)
    with pytest.raises(ConfigError, match=r"chunk .0. and iterations .20. start at 1"):
        RaftEncoderConfig(chunk=0)
    with torch.device("meta"):
        encoder = config().build()
    with pytest.raises(ShapeError, match=r"takes \(R, T, 1, 2, 3, 128, 136\), got \(1, 2, 3\)"):
        encoder.encode(torch.zeros(1, 2, 3), "video")
    with pytest.raises(ModalityError, match="this RAFT encoder sees video, not 'audio'"):
        encoder.encode(torch.zeros(1, 2, 3), "audio")
