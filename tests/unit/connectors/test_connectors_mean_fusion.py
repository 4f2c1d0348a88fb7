import pytest
import torch

from vidweave.connectors.mean_fusion import MeanFusionConfig
from vidweave.errors import UnknownNameError
from vidweave.registry import FUSIONS
from vidweave.types import Blocks, component_from_dict


def block(lengths, tokens=3, width=5):
    longest = max(lengths)
    values = torch.randn(len(lengths), longest, tokens, width)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    values[~mask] = torch.nan
    seconds = torch.stack([torch.arange(longest) * 1.0, torch.arange(longest) + 1.0], -1).expand(len(lengths), -1, -1)
    item = torch.arange(len(lengths))
    return Blocks(values, mask[..., None].expand(-1, -1, tokens), seconds, item, torch.zeros_like(item))


def test_tokens_are_the_mean_of_their_segments():
    config = MeanFusionConfig(streams=("video",))
    assert component_from_dict(FUSIONS, config.to_dict()) == config
    video, audio = block([4, 1, 0]), block([2, 2, 1])
    fused, info = config.build(("video", "sound"))({"video": video, "sound": audio})
    assert fused["sound"] is audio
    assert fused["video"].values.shape == (3, 1, 3, 5)
    torch.testing.assert_close(fused["video"].values[0, 0], video.values[0].mean(0))
    torch.testing.assert_close(fused["video"].values[1, 0], video.values[1, 0])
    assert fused["video"].mask.any(-1).tolist() == [[True], [True], [False]]
    assert fused["video"].seconds[0].tolist() == [[0.0, 4.0]]
    assert info == {"averaged": {"video": [4, 1, 0]}}
    assert config.block_counts({"video": 4, "sound": 2}) == {"video": 1, "sound": 2}
    assert MeanFusionConfig().block_counts({"video": 0, "sound": 2}) == {"video": 0, "sound": 1}


def test_unknown_streams_are_named():
    with pytest.raises(UnknownNameError, match="stream of the fusion 'vidio'"):
        MeanFusionConfig(streams=("vidio",)).build(("video",))
