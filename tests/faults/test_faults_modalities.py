"""Odd depth, audio and points, as they reach CREMA's encoders: refused by name, or as documented."""

import numpy as np
import pytest
import torch

from vidweave.encoders.beats import BEATS_AUDIO
from vidweave.errors import InputError, MediaDecodeError, ModalityError, ShapeError, UnknownNameError
from vidweave.media.audio import read_audio
from vidweave.media.open import open_source
from vidweave.media.points import read_points
from vidweave.media.preprocess import apply
from vidweave.media.write import write_array, write_audio
from vidweave.types import Clip, Frames, PointCloud, PointSpec, Waveform


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_depth_with_nan_or_infinity(tmp_path, value):
    depth = np.ones((3, 8, 9, 1), np.float32)
    depth[1, 2, 3] = value
    path = write_array(tmp_path / "depth.npy", Frames.from_array(depth, fps=4))
    with pytest.raises(InputError, match="NaN|inf"), open_source(path, "depth") as source:  # noqa: RUF043
        source.read_frames(np.arange(3))


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_audio_of_any_rate_gives_windows_of_frames(tmp_path, rate):
    tone = np.sin(np.arange(rate * 2) * 2 * np.pi * 440 / rate).astype(np.float32) / 4
    path = write_audio(tmp_path / "tone.wav", Waveform(tone, rate))
    windows, seconds = apply(BEATS_AUDIO, read_audio(path, sample_rate=16_000))
    assert windows.shape == (2, 512, 128)
    assert torch.isfinite(windows).all()
    assert float(seconds[0, 1]) == pytest.approx(2.0, abs=0.05)
    assert not windows[1].any()  # nothing but padding


def test_audio_shorter_than_a_frame_and_empty_audio(tmp_path):
    with pytest.raises(ShapeError, match="less than one mel frame of 400"):
        apply(BEATS_AUDIO, Waveform(np.zeros(100, np.float32), 16_000))
    (tmp_path / "empty.wav").touch()
    with pytest.raises(InputError, match=r"empty"):
        read_audio(tmp_path / "empty.wav", sample_rate=16_000)


def test_long_audio_is_spread_and_capped():
    minutes = Waveform(np.zeros(16_000 * 180, np.float32), 16_000)
    windows, seconds = apply(BEATS_AUDIO, minutes)
    assert windows.shape[0] == BEATS_AUDIO.max_windows
    assert float(seconds[-1, 1]) > 170


@pytest.mark.parametrize("count", [1, 4, 1_000_000])
def test_one_point_or_a_million(count):
    places = np.random.default_rng(0).random((count, 3)).astype(np.float32)
    cloud = PointCloud(places, np.ones((count, 2), np.float32))
    spec = PointSpec(num_points=7, feature_width=2, normalize=False, voxels=256)
    points, _ = apply(spec, cloud)
    assert points.shape == (1, 7, 5)
    assert 0 <= float(points[..., :3].min()) <= float(points[..., :3].max()) <= 255
    again, _ = apply(spec, cloud)
    assert torch.equal(points, again)


def test_no_point_at_all():
    with pytest.raises(MediaDecodeError, match="has no points"):
        read_points(PointCloud(np.zeros((0, 3), np.float32)))


def test_an_unknown_modality_lists_near_ones():
    with pytest.raises((UnknownNameError, ModalityError), match="deph.*depth"):  # noqa: RUF043
        Clip("a.mp4", deph="b.mp4")
