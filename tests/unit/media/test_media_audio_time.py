"""Audio keeps its time through holes, overlaps, drift and jitter, and no hole costs more than the caps allow."""

from itertools import pairwise

import numpy as np
import pytest

from tests.unit.media.audio_files import pcm_packets
from tests.unit.media.field_files import FIELD
from vidweave.errors import MediaLimitError, ShapeError
from vidweave.media.audio import read_audio
from vidweave.media.audio_timeline import Timeline
from vidweave.media.limits import Limits
from vidweave.types import Waveform

RATE = 8_000


def times_of_sound(waveform, step=0.02):
    """Whether each `step` of the waveform is audio (0.25) or silence."""
    size = round(step * waveform.sample_rate)
    return (waveform.samples[: len(waveform.samples) // size * size].reshape(-1, size).mean(1) > 0.125).tolist()


def test_a_tone_stands_where_it_was_recorded_although_a_tenth_of_the_packets_is_lost():
    waveform = read_audio(FIELD / "loss10.webm", sample_rate=16_000)
    first = np.flatnonzero(np.abs(waveform.samples) > 0.3)[0]
    assert waveform.start_seconds + first / 16_000 == pytest.approx(8.0, abs=0.03)
    assert waveform.duration_seconds == pytest.approx(10.0, abs=0.03)
    assert "50 gaps" in waveform.notes[0]


def test_each_lost_packet_is_silence_in_its_place(tmp_path):
    kept = [i for i in range(100) if i % 7 != 3]
    waveform = read_audio(pcm_packets(tmp_path / "x.mkv", RATE, [i * 0.02 for i in kept]), sample_rate=RATE)
    assert times_of_sound(waveform) == [i in kept for i in range(100)]
    assert waveform.notes == (f"the audio of '{tmp_path}/x.mkv' has 14 gaps; 0.28 s of silence fill them",)
    part = read_audio(tmp_path / "x.mkv", sample_rate=RATE, start_seconds=0.5, end_seconds=1.5)
    assert times_of_sound(part) == [i in kept for i in range(25, 75)]


@pytest.mark.parametrize("drift", [0.0005, -0.0005])
def test_small_differences_that_add_up_never_exceed_the_tolerance(tmp_path, drift):
    """The clock of the timestamps runs 2.5% faster or slower than that of the samples."""
    times = [i * (0.02 + drift) for i in range(200)]
    waveform = read_audio(pcm_packets(tmp_path / "x.mkv", RATE, times), sample_rate=RATE)
    assert waveform.duration_seconds == pytest.approx(times[-1] + 0.02, abs=0.016)
    assert ("silence" if drift > 0 else "overlaps itself") in waveform.notes[0]


def test_jitter_changes_nothing(tmp_path):
    jitter = np.random.default_rng(0).integers(-6, 7, 50) / 1_000
    times = [max(0.0, i * 0.02 + jitter[i] * (i > 0)) for i in range(50)]
    waveform = read_audio(pcm_packets(tmp_path / "x.mkv", RATE, times), sample_rate=RATE)
    assert len(waveform.samples) == RATE
    assert all(times_of_sound(waveform))
    assert waveform.notes == ()


def placed(times, start=0.0, end=None, **options):
    """Chunks of 20 ms at `times`, placed: all samples, and the notes. Muxers refuse such times, demuxers do not."""
    timeline = Timeline(RATE, start, end, Limits(), "the audio", **options)
    chunks = [(time, RATE, np.full(160, i + 1.0, np.float32)) for i, time in enumerate(times)]
    out = list(timeline.place(chunks))
    for (begin, rate, samples), (following, *_) in pairwise(out):
        assert following == pytest.approx(begin + len(samples) / rate)
    return np.concatenate([samples for *_, samples in out]), timeline.notes


def test_what_overlaps_is_cut_once():
    samples, notes = placed([i * 0.02 for i in range(50)] + [0.9 + i * 0.02 for i in range(50)])  # 0.1 s twice
    assert np.array_equal(samples[::160], [*range(1, 51), *range(56, 101)])
    assert notes == ["the audio overlaps itself; 0.10 s were cut"]


def test_a_clock_that_starts_again_loses_nothing():
    samples, notes = placed([i * 0.02 for i in range(50)] * 2)
    assert np.array_equal(samples[::160], range(1, 101))
    assert notes == ["the clock of the audio jumps 1 times; the parts were joined"]


def test_a_clock_that_jumps_ahead_is_a_gap_or_in_mpeg_streams_a_join():
    times = [0.0, 0.02, 30.0, 30.02]
    assert len(placed(times)[0]) == round(30.04 * RATE)
    samples, notes = placed(times, joins_ahead=True)
    assert np.array_equal(samples[::160], [1, 2, 3, 4])
    assert "parts were joined" in notes[0]


def test_gaps_and_overlaps_around_the_borders_of_a_span():
    samples, _ = placed([0.0, 0.02, 1.0, 1.02, 1.04], start=0.5, end=1.03)
    assert len(samples) == round(0.53 * RATE)
    assert np.array_equal(np.unique(samples[: RATE // 2]), [0.0])
    assert np.array_equal(samples[RATE // 2 :], [3.0] * 160 + [4.0] * 80)


@pytest.mark.parametrize(
    ("gap", "limits", "setting"),
    [
        (30 * 3_600, Limits(), "max_seconds"),
        (20 * 3_600, Limits(), "max_decoded_bytes"),
        (600, Limits(max_decoded_bytes=10 * 2**20), "max_decoded_bytes"),
    ],
)
def test_a_giant_gap_is_refused_before_it_is_filled(tmp_path, monkeypatch, gap, limits, setting):
    path = pcm_packets(tmp_path / "x.mkv", RATE, [0.0, 0.02, gap])
    assert path.stat().st_size < 5_000
    made = []
    zeros = np.zeros
    monkeypatch.setattr(np, "zeros", lambda *args, **kwargs: made.append(args) or zeros(*args, **kwargs))
    with pytest.raises(MediaLimitError, match=rf"raise Limits\.{setting}"):
        read_audio(path, sample_rate=16_000, limits=limits)
    assert not made
    if setting != "max_seconds":  # a short span of it is no burden
        part = read_audio(path, sample_rate=16_000, start_seconds=0.0, end_seconds=2.0, limits=limits)
        assert part.duration_seconds == pytest.approx(2.0, abs=0.001)


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint8", "float64", "float16"])
def test_waveforms_of_every_sample_type_have_one_range(dtype):
    floats = np.array([0.0, 0.5, -0.25, -1.0])
    full, middle = {"int16": (2**15, 0), "int32": (2**31, 0), "uint8": (128, 128)}.get(dtype, (1, 0))
    waveform = Waveform((floats * full + middle).astype(dtype), RATE)
    assert np.allclose(waveform.samples, floats, atol=1e-6)
    assert np.allclose(read_audio(waveform, sample_rate=RATE).samples, floats, atol=1e-6)


@pytest.mark.parametrize("dtype", ["int64", "uint16", "int8", "bool", "complex64"])
def test_samples_without_a_known_range_are_refused(dtype):
    with pytest.raises(ShapeError, match=rf"floats in -1\.\.1, int16, int32 or uint8, got {dtype}; convert it"):
        Waveform(np.zeros(4, dtype), RATE)


def test_floats_of_another_unit_are_reported():
    waveform = read_audio(Waveform(np.array([0.0, 20_000.0], np.float32), RATE), sample_rate=RATE)
    assert "reaches 20000, but samples are expected in -1..1" in waveform.notes[0]
