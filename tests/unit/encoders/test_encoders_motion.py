"""Motion maps as patches and as pooled vectors: the two forms of one bridge's input."""

import pytest
import torch

from vidweave.encoders.motion import MotionEncoderConfig
from vidweave.errors import ConfigError, ModalityError, ShapeError
from vidweave.registry import ENCODERS
from vidweave.selectors.bridge import MotionEmbedding
from vidweave.testing import check_encoder
from vidweave.types import MotionSpec, component_from_dict

VECTORS = MotionSpec(source="motion_vectors", fps=2, height=6, width=9)
FLOW = MotionSpec(source="flow", fps=2, height=6, width=9)


def config(**changes):
    fields = {"height": 6, "width": 9, "patch": 3, "specs": {"video": VECTORS, "flow": FLOW}}
    return MotionEncoderConfig(**{**fields, **changes})


@pytest.mark.parametrize("pooling", ["none", "weighted"])
def test_contract(pooling):
    check_encoder(config(pooling=pooling, chunk=3).build().eval())


def test_a_patch_is_what_a_convolution_sees():
    encoder = config().build()
    maps = torch.randn(2, 4, 1, 2, 6, 9)
    tokens = encoder.encode(maps, "video")
    assert tokens.shape == (2, 4, 6, 18)
    conv = torch.nn.Conv2d(2, 5, 3, stride=3)
    expected = conv(maps[:, :, 0].flatten(0, 1)).flatten(2).transpose(1, 2).unflatten(0, (2, 4))
    assert torch.allclose(tokens @ conv.weight.flatten(1).T + conv.bias, expected, atol=1e-5)


def test_pooled_vectors_are_what_the_bridge_pools():
    torch.manual_seed(0)
    maps = torch.randn(2, 5, 1, 2, 6, 9)
    mask = torch.ones(2, 5, dtype=torch.bool)
    embedding = MotionEmbedding(18, 8, num_patches=6, num_positions=0, dropout=0.0).eval()
    torch.nn.init.normal_(embedding.spatial)
    pooled = config(pooling="weighted").build()
    pooled.load_state_dict({"pooling": embedding.spatial.detach()})
    expected = embedding(config().build().encode(maps, "flow"), mask)
    assert torch.allclose(embedding.pooled()(pooled.encode(maps, "flow"), mask), expected, atol=1e-5)


def test_registered_and_read_back():
    made = config(pooling="weighted")
    assert component_from_dict(ENCODERS, made.to_dict()) == made
    assert (made.num_patches, made.motion_width) == (6, 18)
    assert not any(p.requires_grad for p in made.build().parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch": 4}, r"the patch \(4\) must divide the maps' size 6 x 9"),
        ({"height": 3}, "makes maps of 6 x 9, but the encoder takes 3 x 9"),
        ({"specs": {"video": MotionSpec(source="pictures", fps=2, height=6, width=9)}}, "at least 128 pixels per side"),
        (
            {"specs": {"video": VECTORS, "flow": MotionSpec(source="flow", fps=4, height=6, width=9)}},
            "must have one fps and one normalize",
        ),
    ],
)
def test_specs_that_do_not_fit(changes, message):
    with pytest.raises(ConfigError, match=message):
        config(**changes)


def test_what_is_no_map_is_refused():
    encoder = config().build()
    with pytest.raises(ShapeError, match=r"expects \(R, T, 1, 2, 6, 9\), got \(1, 1, 1, 2, 9, 6\)"):
        encoder.encode(torch.zeros(1, 1, 1, 2, 9, 6), "video")
    with pytest.raises(ModalityError, match="this motion encoder supports flow, video, not 'depth'"):
        encoder.encode(torch.zeros(1, 1, 1, 2, 6, 9), "depth")


def raft_encoder(**spec):
    torch.manual_seed(0)
    size = {"height": 128, "width": 144}
    specs = {"video": MotionSpec(source="pictures", fps=2, **size, **spec)}
    return MotionEncoderConfig(**size, patch=16, iterations=2, specs=specs).build().eval()


def test_raft_watches_pairs_and_encodes_shared_frames_once(monkeypatch):
    encoder = raft_encoder()
    frames = torch.randint(0, 255, (4, 3, 128, 144), dtype=torch.uint8)
    chain = torch.stack([torch.stack([frames[i], frames[i + 1]]) for i in range(3)])
    expected = encoder.raft(frames, iterations=2)
    seen = []
    encode = encoder.raft.fnet.forward
    monkeypatch.setattr(encoder.raft.fnet, "forward", lambda x: seen.append(len(x)) or encode(x))
    flow = encoder.flow(chain[None])[0]
    assert sum(seen) == 4
    assert torch.allclose(flow, expected, atol=1e-4)
    swapped = encoder.flow(chain[None, [2, 0, 1]])[0]  # no chain any more
    assert torch.allclose(swapped, expected[[2, 0, 1]], atol=1e-3)
    tokens = encoder.encode(chain[None, :, None], "video")
    assert tokens.shape == (1, 3, 72, 512)


def test_equal_frames_do_not_move_and_a_clip_is_normalised():
    encoder = raft_encoder(normalize="clip_max")
    frames = torch.randint(0, 255, (1, 2, 1, 2, 3, 128, 144), dtype=torch.uint8)
    frames[0, 1, 0, 1] = frames[0, 1, 0, 0]
    tokens = encoder.encode(frames, "video").detach()
    assert tokens[0, 1].abs().max() == 0
    right, down = tokens[0, 0].unflatten(-1, (2, 256)).unbind(1)
    assert torch.hypot(right, down).max() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("normalize", ["clip_max", pytest.param("none", marks=pytest.mark.slow)])
def test_a_clip_in_a_batch_is_as_it_is_alone(normalize):
    """With clips that move unequally far: the largest motion of one must not scale the other."""
    encoder = raft_encoder(normalize=normalize)
    generator = torch.Generator().manual_seed(4)
    frames = torch.randint(0, 255, (2, 2, 1, 2, 3, 128, 144), generator=generator, dtype=torch.uint8)
    frames[1] = frames[1] // 16 + 100  # faint: another length of flow
    with torch.no_grad():
        together = encoder.encode(frames, "video")
        alone = torch.cat([encoder.encode(frames[[row]], "video") for row in range(2)])
        maps = encoder.flow(frames[:, :, 0])
    longest = maps.norm(dim=2).flatten(1).amax(1)
    assert (longest[0] / longest[1] - 1).abs() > 0.05
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-3)
