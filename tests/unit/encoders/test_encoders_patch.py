import pytest
import torch

from vidweave.encoders.patch import PatchEncoderConfig
from vidweave.errors import ConfigError, ModalityError, ShapeError
from vidweave.registry import ENCODERS
from vidweave.types import AudioSpec, VisualSpec, component_from_dict

SPEC = VisualSpec(height=12, width=20)


def tiny(**changes):
    torch.manual_seed(0)
    fields = {
        "size": (12, 20),
        "patch": 4,
        "width": 24,
        "layers": 2,
        "heads": 3,
        "specs": {"video": SPEC, "depth": SPEC},
    }
    return PatchEncoderConfig(**{**fields, **changes})


def test_tokens_per_patch_in_row_order():
    encoder = tiny().build().eval()
    values = torch.randn(2, 5, 1, 3, 12, 20)
    tokens = encoder.encode(values, "video")
    assert tokens.shape == (2, 5, encoder.num_tokens, encoder.width) == (2, 5, 15, 24)


def test_a_patch_is_the_token_at_its_place():
    encoder = tiny(layers=0).build()
    values = torch.randn(1, 1, 1, 3, 12, 20)
    changed = values.clone()
    changed[..., 4:8, 8:12] += 1.0  # second row of patches, third column; five patches a row
    difference = encoder.encode(values, "video") - encoder.encode(changed, "video")
    assert difference[0, 0].abs().sum(-1).nonzero().flatten().tolist() == [1 * 5 + 2]


def test_chunked_equals_whole_and_any_modality_with_a_spec():
    whole, chunked = tiny().build().eval(), tiny(chunk=3).build().eval()
    values = torch.randn(3, 5, 1, 3, 12, 20)
    torch.testing.assert_close(whole.encode(values, "video"), chunked.encode(values, "depth"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows_groups", [(0, 4), (3, 0)])
def test_no_rows_or_no_groups(rows_groups):
    assert tiny().build().encode(torch.zeros(*rows_groups, 1, 3, 12, 20), "video").shape == (*rows_groups, 15, 24)


def test_audio_windows_are_one_channel_frames():
    spec = AudioSpec(sample_rate=8000, window_seconds=1.0, mel_bins=20)
    encoder = tiny(channels=1, specs={"audio": spec}).build()
    assert encoder.encode(torch.randn(2, 3, 12, 20), "audio").shape == (2, 3, 15, 24)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close(dtype):
    encoder = tiny().build().eval()
    values = torch.randn(1, 2, 1, 3, 12, 20)
    full = encoder.encode(values, "video")
    half = encoder.to(dtype).encode(values, "video")
    assert half.dtype == dtype
    assert (half.float() - full).abs().max() < 0.1  # bf16 keeps 8 bits of a unit-variance output


def test_default_size_is_the_tiny_models():
    with torch.device("meta"):
        encoder = PatchEncoderConfig().build()
    assert (encoder.num_tokens, encoder.width) == (36, 128)
    assert {p.device.type for p in encoder.parameters()} == {"meta"}
    assert not list(encoder.buffers())


def test_config_round_trip():
    config = tiny()
    assert component_from_dict(ENCODERS, config.to_dict()) == config


def test_faults():
    with pytest.raises(ConfigError, match=r"patch \(5\) must divide"):
        tiny(patch=5, specs={})
    with pytest.raises(ConfigError, match="multiple of the number of heads"):
        tiny(heads=5)
    with pytest.raises(ConfigError, match="'video' makes frames of 8 x 8"):
        tiny(specs={"video": VisualSpec(height=8, width=8)})
    encoder = tiny().build()
    with pytest.raises(ModalityError, match="supports depth, video, not 'touch'"):
        encoder.encode(torch.zeros(1, 1, 1, 3, 12, 20), "touch")
    with pytest.raises(ShapeError, match=r"expects \(R, T, 1, 3, 12, 20\), got"):
        encoder.encode(torch.zeros(1, 1, 2, 3, 12, 20), "video")
