"""The universal encoder: what each tokenizer makes, constants that parity cannot see, faults of configurations."""

from dataclasses import replace

import pytest
import torch

from vidweave.encoders.universal import UniversalEncoderConfig
from vidweave.errors import ConfigError, ShapeError
from vidweave.types import AudioSpec, PointSpec, SeriesSpec, VisualSpec

SPECS = {
    "image": VisualSpec(height=12, width=12),
    "audio": AudioSpec(sample_rate=800, window_seconds=0.13, mel_bins=7, windows_of="frames"),
    "point_cloud": PointSpec(num_points=11, feature_width=3),
    "imu": SeriesSpec(channels=2, length=9, rate=5.0),
    "fmri": SeriesSpec(channels=7, average=True),
}
CONFIG = UniversalEncoderConfig(
    width=8, layers=1, heads=2, mlp_width=10, patch=4, size=12, sound_patch=4, sound_stride=3, num_groups=5,
    group_size=3, series_kernel=4, vector_tokens=3, specs=SPECS,
)  # fmt: skip
TOKENS = {"image": 9, "audio": 2 * 4, "point_cloud": 5, "imu": 6, "fmri": 3}
PAYLOADS = {"image": (1, 3, 12, 12), "audio": (13, 7), "point_cloud": (11, 6), "imu": (9, 2), "fmri": (1, 7)}


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return CONFIG.build().eval()


@pytest.mark.parametrize("modality", TOKENS)
def test_tokens_of_each_modality_and_the_class_token(encoder, modality):
    with torch.no_grad():
        assert encoder.encode(torch.randn(2, 1, *PAYLOADS[modality]), modality).shape == (2, 1, TOKENS[modality] + 1, 8)


def test_audio_patches_run_along_time_within_each_band(encoder):
    """Mel bins are the rows of the frame: the lowest bins change the first row of tokens, the highest the last."""
    tokenizer, values = encoder.tokenizers["audio"], torch.randn(1, 13, 7)

    def moved(mel_bin):
        changed = values.clone()
        changed[..., mel_bin] += 1
        return ((tokenizer(changed) - tokenizer(values)).abs().amax(-1)[0] > 0).tolist()

    assert moved(0) == [True] * 4 + [False] * 4
    assert moved(6) == [False] * 4 + [True] * 4


def test_neighbors_are_found_by_the_last_three_columns(encoder):
    """Groups follow colors; places alone change what a group holds, not which points are in it."""
    points = torch.randn(1, 11, 6)
    tokenizer = encoder.tokenizers["point_cloud"]
    again = tokenizer(points)
    moved = points.clone()
    moved[..., :3] = 0
    with torch.no_grad():
        tokenizer.linear.weight[:, :3] = 0
        torch.testing.assert_close(tokenizer(moved), tokenizer(points))
    assert again.shape == (1, 5, 8)


def test_only_what_a_modality_has_of_its_own_is_its_parameters(encoder):
    assert set(encoder.positions) == set(encoder.tokenizers) == set(SPECS) - {"image"}
    values = torch.randn(1, 1, *PAYLOADS["imu"])
    encoder.zero_grad()
    encoder.encode(values, "imu").sum().backward()
    moved = {n for n, p in encoder.named_parameters() if p.grad is not None}
    assert not any("audio" in name or "fmri" in name or name == "position_embedding" for name in moved)
    assert {"tokenizers.imu.conv.weight", "positions.imu"} <= moved


def test_values_of_another_shape_are_refused(encoder):
    with pytest.raises(ShapeError, match=r"takes imu as \(R, T, 9, 2\), got \(1, 1, 8, 2\)"):
        encoder.encode(torch.zeros(1, 1, 8, 2), "imu")
    with pytest.raises(ShapeError, match=r"takes image as \(R, T, frames, 3, 12, 12\), got \(1, 1, 3, 12, 12\)"):
        encoder.encode(torch.zeros(1, 1, 3, 12, 12), "image")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, "patch and heads of a universal encoder must divide size and width"),
        ({"patch": 5}, "patch and heads of a universal encoder must divide size and width"),
        ({"specs": {"image": VisualSpec(height=12, width=9)}}, "makes frames of 12 x 9, the encoder takes 12"),
        ({"specs": {"audio": replace(SPECS["audio"], mel_bins=3)}}, "makes 3 mel bins; patches of 4 need more"),
        ({"specs": {"point_cloud": PointSpec(num_points=11)}}, "makes 11 points with 0 features; the encoder takes 3"),
        ({"num_groups": 12}, "at least 12 points"),
        ({"specs": {"imu": SeriesSpec(channels=2, length=3)}}, "makes 3 samples, a token needs 4"),
    ],
)
def test_configurations_that_do_not_fit(changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG, **changes)
