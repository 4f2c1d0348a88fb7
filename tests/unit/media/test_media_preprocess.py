"""Specs executed in plain torch, against formulas written another way."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from tests.unit.media.media_files import pattern, tone
from vidweave.errors import ConfigError, MediaLimitError, ShapeError
from vidweave.media.limits import Limits
from vidweave.media.mel import log_mel
from vidweave.media.preprocess import apply, audio_windows
from vidweave.types import AudioSpec, Frames, PointCloud, PointSpec, VisualSpec, Waveform

NOISE = np.random.default_rng(4).integers(0, 256, (3, 41, 67, 3), dtype=np.uint8)


def frames(values, fps=4.0):
    return Frames.from_array(values, fps=fps)


def test_normalisation_and_times():
    spec = VisualSpec(height=41, width=67, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    out, seconds = apply(spec, frames(NOISE))
    expected = (NOISE / 255 - np.array(spec.mean)) / np.array(spec.std)
    assert out.dtype == torch.float32
    assert np.allclose(out.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-5)
    assert seconds.tolist() == [0.0, 0.25, 0.5]


@pytest.mark.parametrize(
    ("name", "filter_"), [("bicubic", Image.Resampling.BICUBIC), ("bilinear", Image.Resampling.BILINEAR)]
)
def test_squash_matches_pillow(name, filter_):
    out, _ = apply(VisualSpec(height=20, width=32, interpolation=name), frames(NOISE))
    expected = np.stack([np.asarray(Image.fromarray(p).resize((32, 20), filter_)) for p in NOISE])
    difference = np.abs(out.permute(0, 2, 3, 1).numpy() * 255 - expected)
    assert difference.max() < 2.0  # Pillow rounds after each of its two passes
    assert difference.mean() < 0.4


def test_overshoot_is_clamped():
    edges = np.zeros((1, 16, 16, 3), np.uint8)
    edges[:, ::2] = 255
    out, _ = apply(VisualSpec(height=23, width=23, antialias=False), frames(edges))
    assert out.min() >= 0
    assert out.max() <= 1


def test_crop_keeps_the_middle():
    frame = np.zeros((1, 40, 80, 3), np.uint8)
    frame[:, :, 20:60] = 200
    out, _ = apply(VisualSpec(height=20, width=20, resize="crop"), frames(frame))
    assert out.shape == (1, 3, 20, 20)
    assert torch.allclose(out[..., 2:-2], torch.full((1, 3, 20, 16), 200 / 255), atol=1e-3)


def test_pad_fills_with_the_mean():
    spec = VisualSpec(height=30, width=24, resize="pad", mean=(0.4, 0.5, 0.6))
    out, _ = apply(spec, frames(np.full((2, 10, 40, 3), 255, np.uint8)))
    assert out.shape == (2, 3, 30, 24)
    assert torch.allclose(out[:, :, :11], torch.zeros(2, 3, 11, 24), atol=1e-6)
    assert (out[:, :, 13:17] > 0.3).all()


def test_no_resize_refuses_another_size():
    with pytest.raises(ShapeError, match="takes frames of 8x9 as they are, got 67x41"):
        apply(VisualSpec(height=9, width=8, resize="none"), frames(NOISE))


def test_one_and_two_channels():
    grey = NOISE[..., :1]
    out, _ = apply(VisualSpec(height=41, width=67), frames(grey))
    assert torch.equal(out[:, 0], out[:, 2])
    flow = np.random.default_rng(0).normal(size=(2, 6, 7, 2)).astype(np.float32)
    out, _ = apply(VisualSpec(height=6, width=7, value_range=(-4.0, 4.0)), frames(flow))
    assert torch.allclose(out[:, 2], torch.full((2, 6, 7), 0.5))
    with pytest.raises(ShapeError, match="1, 2 or 3 channels, got 4"):
        apply(VisualSpec(height=6, width=7), frames(np.zeros((1, 6, 7, 4), np.uint8)))


def test_value_range_maps_and_clamps_metres():
    depth = np.array([0.0, 1.0, 3.0, 9.0], np.float32).reshape(1, 2, 2, 1)
    out, _ = apply(VisualSpec(height=2, width=2, value_range=(1.0, 5.0)), frames(depth))
    assert out[0, 0].flatten().tolist() == [0.0, 0.0, 0.5, 1.0]
    stored = (np.array([0, 51, 255, 102], np.uint8)).reshape(1, 2, 2, 1)
    out, _ = apply(VisualSpec(height=2, width=2, value_range=(1.0, 5.0)), frames(stored))
    assert out[0, 1].flatten().tolist() == pytest.approx([0.0, 0.2, 1.0, 0.4])


def test_floats_need_a_unit():
    with pytest.raises(ShapeError, match="need a spec with value_range"):
        apply(VisualSpec(height=4, width=4), frames(np.zeros((1, 4, 4, 1), np.float32)))
    with pytest.raises(ShapeError, match="uint8 or float"):
        apply(VisualSpec(height=4, width=4), frames(np.zeros((1, 4, 4, 1), np.int32)))


def test_chunks_equal_one_piece(monkeypatch):
    spec = VisualSpec(height=13, width=17, resize="crop")
    whole, _ = apply(spec, frames(pattern(9)))
    monkeypatch.setattr("vidweave.media.preprocess._CHUNK_PIXELS", 2 * 48 * 64)
    chunked, _ = apply(spec, frames(pattern(9)))
    assert torch.equal(whole, chunked)


# ---- audio


def test_windows_cover_the_clip():
    spec = AudioSpec(sample_rate=1_000, window_seconds=0.5)
    audio = np.arange(1_200, dtype=np.float32) / 1_200
    out, seconds = apply(spec, Waveform(audio, 1_000, start_seconds=2.0))
    assert out.shape == (3, 500)
    assert np.allclose(out.flatten()[:1_200], audio)
    assert (out.flatten()[1_200:] == 0).all()
    assert np.allclose(seconds, [[2.0, 2.5], [2.5, 3.0], [3.0, 3.2]])


def test_too_many_windows_are_thinned_and_reported():
    spec = AudioSpec(sample_rate=1_000, window_seconds=0.1, max_windows=4)
    starts, notes = audio_windows(2_000, spec)
    assert (starts / 100).tolist() == [2, 7, 12, 17]
    assert notes == ["4 of 20 windows of audio are used, evenly spread (AudioSpec.max_windows)"]
    out, seconds = apply(spec, Waveform(tone(2.0, 1_000), 1_000))
    assert out.shape == (4, 100)
    assert seconds[:, 0].tolist() == pytest.approx([0.2, 0.7, 1.2, 1.7])


def test_rate_must_fit():
    with pytest.raises(ShapeError, match="audio at 1000 Hz, got 8000 Hz"):
        apply(AudioSpec(sample_rate=1_000, window_seconds=1.0), Waveform(tone(1.0, 8_000), 8_000))


def test_log_mel_against_a_plain_formula():
    spec = AudioSpec(sample_rate=16_000, window_seconds=0.1, mel_bins=23)
    audio = np.random.default_rng(0).normal(size=1_600).astype(np.float32)
    out = log_mel(torch.from_numpy(audio)[None], spec)
    assert out.shape == (1, 8, 23)
    mel = lambda hertz: 1127 * np.log(1 + hertz / 700)  # noqa: E731
    edges = np.linspace(mel(20), mel(8_000), 25)
    bins = mel(np.arange(256) * 16_000 / 512)
    for f in range(8):
        frame = audio[f * 160 : f * 160 + 400].astype(np.float64)
        frame = frame - frame.mean()
        frame = frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])
        window = (0.5 - 0.5 * np.cos(2 * math.pi * np.arange(400) / 399)) ** 0.85
        power = np.abs(np.fft.rfft(frame * window, 512))[:256] ** 2
        for m in range(23):
            up = (bins - edges[m]) / (edges[m + 1] - edges[m])
            down = (edges[m + 2] - bins) / (edges[m + 2] - edges[m + 1])
            energy = (np.maximum(0, np.minimum(up, down)) * power).sum()
            assert out[0, f, m] == pytest.approx(np.log(max(energy, 1.1920929e-07)), abs=2e-3)


def test_log_mel_through_apply_and_its_limits():
    spec = AudioSpec(sample_rate=8_000, window_seconds=0.25, mel_bins=16)
    out, seconds = apply(spec, Waveform(tone(0.6, 8_000), 8_000))
    assert out.shape == (3, 23, 16)
    assert torch.isfinite(out).all()
    assert seconds.shape == (3, 2)
    with pytest.raises(ShapeError, match="holds no mel frame"):
        apply(AudioSpec(sample_rate=8_000, window_seconds=0.02, mel_bins=16), Waveform(tone(0.6, 8_000), 8_000))


# ---- points


@pytest.mark.parametrize("count", [1, 5, 64, 1_000])
def test_points_are_sampled_or_repeated(count):
    cloud = PointCloud(
        np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32), np.ones((count, 2), np.float32)
    )
    out, seconds = apply(PointSpec(num_points=64, feature_width=2), cloud)
    assert out.shape == (1, 64, 5)
    assert seconds.shape == (1, 2)
    assert torch.isfinite(out).all()
    assert out[0, :, :3].norm(dim=1).max() == pytest.approx(1.0 if count > 1 else 0.0, abs=1e-5)
    again, _ = apply(PointSpec(num_points=64, feature_width=2), cloud)
    assert torch.equal(out, again)
    bare, _ = apply(PointSpec(num_points=64), cloud)
    assert bare.shape == (1, 64, 3)


def test_missing_point_features():
    with pytest.raises(ShapeError, match="with 3 features, got 0"):
        apply(PointSpec(num_points=4, feature_width=3), PointCloud(np.zeros((4, 3), np.float32)))
    with pytest.raises(ShapeError, match="is empty"):
        apply(PointSpec(num_points=4), PointCloud(np.zeros((0, 3), np.float32)))


def test_specs_and_carriers_must_fit():
    with pytest.raises(ShapeError, match="a VisualSpec cannot be applied to Waveform"):
        apply(VisualSpec(height=2, width=2), Waveform(tone(1, 100), 100))


def test_sizes_are_capped():
    limits = Limits(max_decoded_bytes=1_000)
    for spec, carrier in [
        (VisualSpec(height=9, width=9), frames(NOISE)),
        (AudioSpec(sample_rate=1_000, window_seconds=1.0), Waveform(tone(1, 1_000), 1_000)),
        (PointSpec(num_points=100), PointCloud(np.zeros((4, 3), np.float32))),
    ]:
        with pytest.raises(MediaLimitError, match=r"raise Limits\.max_decoded_bytes"):
            apply(spec, carrier, limits=limits)


def test_three_crops_are_cut_along_a_frame():
    with pytest.raises(ConfigError, match="crops=3 cut a frame along its long side; use resize='crop'"):
        VisualSpec(height=4, width=4, crops=3)
