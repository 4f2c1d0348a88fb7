"""Audio: the mean of all channels, at any rate, in any span, in true time."""

import av
import numpy as np
import pytest

from tests.unit.media.media_files import encode, tone, write_wav
from vidweave.errors import MediaDecodeError, MediaError, MediaLimitError, MediaTypeError
from vidweave.media.audio import read_audio
from vidweave.media.limits import Limits
from vidweave.media.open import open_source
from vidweave.media.write import write_audio, write_video
from vidweave.types import Frames, Waveform


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 16])
def test_channels_are_averaged(tmp_path, channels):
    audio = np.stack([tone(0.5, 8_000, 200 + 50 * k) for k in range(channels)])
    path = write_wav(tmp_path / "s.wav", audio, 8_000)
    waveform = read_audio(path, sample_rate=8_000)
    assert waveform.samples.dtype == np.float32
    assert np.allclose(waveform.samples, audio.mean(axis=0), atol=2e-4)


def test_averaging_comes_before_the_rate(tmp_path):
    left = tone(1.0, 44_100)
    path = write_wav(tmp_path / "s.wav", np.stack([left, -left]), 44_100)
    assert np.abs(read_audio(path, sample_rate=16_000).samples).max() < 1e-3


@pytest.mark.parametrize(("source", "target"), [(8_000, 16_000), (44_100, 16_000), (48_000, 48_000), (11_025, 22_050)])
def test_rates(tmp_path, source, target):
    path = write_wav(tmp_path / "s.wav", tone(1.0, source)[None], source)
    waveform = read_audio(path, sample_rate=target)
    assert waveform.sample_rate == target
    assert abs(len(waveform.samples) - target) <= 1
    expected = tone(1.0, target)[: len(waveform.samples)]
    middle = slice(target // 10, -target // 10)
    assert np.abs(waveform.samples[: len(expected)][middle] - expected[middle]).max() < 0.02


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv", "x.webm", "x.avi"])
def test_the_audio_track_of_a_video(tmp_path, name):
    frames = Frames.from_array(np.zeros((20, 48, 64, 3), np.uint8), fps=10)
    codec = "vp9" if name.endswith("webm") else "h264"
    path = write_video(tmp_path / name, frames, audio=Waveform(tone(2.0, 16_000), 16_000), codec=codec)
    waveform = read_audio(path, sample_rate=16_000)
    assert waveform.duration_seconds == pytest.approx(2.0, abs=0.05)
    middle = slice(8_000, 24_000)
    expected = tone(2.0, 16_000)
    assert np.corrcoef(waveform.samples[middle], expected[middle])[0, 1] > 0.99


@pytest.mark.parametrize(("start", "end"), [(0.25, 0.75), (0.0, 0.1), (0.5, None), (None, 0.5), (0.9, 5.0)])
def test_spans(tmp_path, start, end):
    audio = np.random.default_rng(2).uniform(-0.5, 0.5, 8_000).astype(np.float32)
    path = write_wav(tmp_path / "s.wav", audio[None], 8_000)
    first, stop = round((start or 0) * 8_000), min(8_000, round((end or 1) * 8_000))
    for source in (path, path.read_bytes(), Waveform(audio, 8_000)):
        waveform = read_audio(source, sample_rate=8_000, start_seconds=start, end_seconds=end)
        assert waveform.start_seconds == pytest.approx(start or 0.0)
        assert np.allclose(waveform.samples, audio[first:stop], atol=2e-4)


def test_a_span_of_a_compressed_track(tmp_path):
    path = encode(tmp_path / "v.mp4", sound_seconds=3.0)
    part = read_audio(path, sample_rate=16_000, start_seconds=1.0, end_seconds=2.0)
    whole = read_audio(path, sample_rate=16_000)
    assert len(part.samples) == 16_000
    assert np.allclose(part.samples, whole.samples[16_000:32_000], atol=1e-3)


def test_no_audio_track(tmp_path):
    path = encode(tmp_path / "v.mp4", count=3)
    for read in (lambda: read_audio(path, sample_rate=8_000), lambda: open_source(path, "audio")):
        with pytest.raises(MediaTypeError, match="has no audio track"):
            read()


def test_an_empty_track(tmp_path):
    path = write_wav(tmp_path / "s.wav", np.zeros((1, 0), np.float32), 8_000)
    with pytest.raises(MediaDecodeError, match=r"is empty|cannot be decoded"):
        read_audio(path, sample_rate=8_000)
    with pytest.raises(MediaDecodeError, match="is empty"):
        read_audio(Waveform(np.zeros(0, np.float32), 8_000), sample_rate=8_000)


def test_a_span_after_the_end(tmp_path):
    path = write_wav(tmp_path / "s.wav", tone(1.0, 8_000)[None], 8_000)
    with pytest.raises(MediaError, match=r"no audio at or after 4\.0 s; choose an earlier span"):
        read_audio(path, sample_rate=8_000, start_seconds=4.0)


def test_impossible_rate(tmp_path):
    with pytest.raises(MediaError, match="sample_rate must be positive"):
        read_audio(b"x", sample_rate=0)


def test_values_that_are_not_finite(tmp_path):
    bad = tone(0.1, 8_000)
    bad[5] = np.nan
    with pytest.raises(MediaDecodeError, match="1 samples that are not finite"):
        read_audio(Waveform(bad, 8_000), sample_rate=8_000)


def test_caps_name_their_setting(tmp_path):
    path = write_wav(tmp_path / "s.wav", tone(2.0, 8_000)[None], 8_000)
    for setting, value in {"max_seconds": 1.5, "max_decoded_bytes": 50_000}.items():
        with pytest.raises(MediaLimitError, match=rf"raise Limits\.{setting}"):
            read_audio(path, sample_rate=8_000, limits=Limits(**{setting: value}))


def test_holes_are_silence(tmp_path):
    path = tmp_path / "hole.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8_000, layout="mono")
        for start in (0, 24_000):  # one second of audio at 0 s and at 3 s
            samples = (tone(1.0, 8_000)[None] * 32_767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 8_000, start
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    waveform = read_audio(path, sample_rate=8_000)
    assert waveform.duration_seconds == pytest.approx(4.0, abs=0.01)
    assert np.abs(waveform.samples[9_000:23_000]).max() == 0.0
    assert np.abs(waveform.samples[25_000:31_000]).max() > 0.3


def test_truncated_audio_is_used(tmp_path):
    data = write_wav(tmp_path / "s.wav", tone(2.0, 8_000)[None], 8_000).read_bytes()
    assert read_audio(data[: len(data) // 2], sample_rate=8_000).duration_seconds == pytest.approx(1.0, abs=0.01)


def test_writing_clips_what_is_too_loud(tmp_path):
    path = write_audio(tmp_path / "s.wav", Waveform(np.array([0.5, 2.0, -3.0, 0.0], np.float32), 8_000))
    assert np.allclose(read_audio(path, sample_rate=8_000).samples, [0.5, 1.0, -1.0, 0.0], atol=1e-4)
