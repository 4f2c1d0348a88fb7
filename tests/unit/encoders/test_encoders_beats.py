import pytest
import torch

from vidweave.encoders.beats import BEATS_AUDIO, BeatsConfig, _bucket, beats_from_microsoft, beats_to_microsoft
from vidweave.errors import CheckpointError, ConfigError, ModalityError, ShapeError
from vidweave.types import AudioSpec

SPEC = AudioSpec(sample_rate=800, window_seconds=0.12, mel_bins=8, windows_of="frames")
TINY = BeatsConfig(
    width=12, layers=2, heads=3, intermediate=14, patch=4, patch_width=5, conv_width=6, conv_groups=2, num_buckets=8,
    max_distance=16, specs={"audio": SPEC},
)  # fmt: skip


@pytest.fixture
def beats():
    torch.manual_seed(0)
    return TINY.build().eval()


def test_paper_size():
    with torch.device("meta"):
        beats = BeatsConfig().build()
    # one table of relative positions instead of one per layer's name, and the convolution without its weight norm (128)
    assert sum(p.numel() for p in beats.parameters()) == 90_311_792 - 128
    assert beats.encode(torch.zeros(0, 2, 512, 128), "audio").shape == (0, 2, 256, 768)
    assert BEATS_AUDIO.window_frames == 512


def test_tokens_stand_in_time_then_pitch(beats):
    """Changing the highest bins of the first frames changes the patch embedding of token 1 alone."""
    windows = torch.randn(1, 12, 8)
    other = windows.clone()
    other[:, :4, 4:] += 1
    patches = [beats.patch_embedding(x[:, None]).flatten(2)[0].T for x in (windows, other)]
    assert (patches[0] != patches[1]).any(1).tolist() == [False, True, False, False, False, False]


def test_buckets_are_those_of_t5():
    from transformers.models.t5.modeling_t5 import T5Attention

    distance = torch.arange(-900, 900)
    for buckets, most in ((320, 800), (16, 32)):
        expected = T5Attention._relative_position_bucket(distance, True, buckets, most)
        assert torch.equal(_bucket(distance, buckets, most), expected)


def test_there_and_back(beats):
    state = beats.state_dict()
    theirs = beats_to_microsoft(state)
    assert "encoder.pos_conv.0.weight_g" in theirs
    again = beats_from_microsoft(theirs)
    assert again.keys() == state.keys()
    for key, value in state.items():
        torch.testing.assert_close(again[key], value)
    renamed = {k.replace("weight_g", "parametrizations.weight.original0"): v for k, v in theirs.items()}
    renamed = {k.replace("weight_v", "parametrizations.weight.original1"): v for k, v in renamed.items()}
    assert beats_from_microsoft(renamed).keys() == state.keys()


def test_files_that_do_not_fit(beats):
    theirs = beats_to_microsoft(beats.state_dict())
    with pytest.raises(CheckpointError, match=r"lacks encoder\.pos_conv\.0\.weight_g"):
        beats_from_microsoft({k: v for k, v in theirs.items() if "pos_conv" not in k})
    with pytest.raises(CheckpointError, match="not in the key table: strange"):
        beats_from_microsoft({**theirs, "strange": torch.zeros(1)})
    table = "encoder.layers.1.self_attn.relative_attention_bias.weight"
    with pytest.raises(CheckpointError, match="differs from the first layer's table"):
        beats_from_microsoft({**theirs, table: theirs[table] + 1})


def test_faults(beats):
    with pytest.raises(ShapeError, match=r"in multiples of 4, got \(1, 1, 10, 8\)"):
        beats.encode(torch.zeros(1, 1, 10, 8), "audio")
    with pytest.raises(ModalityError, match="supports audio, not 'video'"):
        beats.encode(torch.zeros(1, 1, 12, 8), "video")
    with pytest.raises(ConfigError, match="mel bins"):
        BeatsConfig(specs={"audio": AudioSpec(sample_rate=800, window_seconds=1.0, mel_bins=10)})
