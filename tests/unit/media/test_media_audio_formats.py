"""Channel mean, sample formats, changing rates and late starts, over the formats that audio comes in."""

import av
import numpy as np
import pytest

from tests.unit.media.audio_files import HIGH, LOW, encode_audio, sine, strength, two_tones
from tests.unit.media.media_files import encode
from vidweave.media.audio import channel_samples, read_audio
from vidweave.media.open import open_source
from vidweave.media.video import VideoReader

FORMATS = {
    "a.m4a": ("aac", 44_100),
    "a.aac": ("aac", 44_100),
    "a.flv": ("aac", 44_100),
    "b.ts": ("aac", 44_100),
    "a.mp3": ("libmp3lame", 44_100),
    "a.avi": ("libmp3lame", 44_100),
    "a.ts": ("mp2", 44_100),
    "a.webm": ("libopus", 48_000),
    "a.ogg": ("libopus", 48_000),
    "b.ogg": ("flac", 32_000),
    "a.flac": ("flac", 44_100),
    "a.caf": ("alac", 44_100),
    "a.mkv": ("ac3", 44_100),
    "a.wav": ("pcm_s16le", 44_100),
    "b.wav": ("pcm_s24le", 22_050),
    "c.wav": ("pcm_u8", 11_025),
    "d.wav": ("pcm_f32le", 44_100),
    "e.wav": ("pcm_s32le", 44_100),
    "f.wav": ("pcm_f64le", 44_100),
    "a.aiff": ("pcm_s16be", 44_100),
    "a.mov": ("pcm_s16le", 44_100),
}


@pytest.mark.parametrize("name", FORMATS)
def test_both_channels_are_heard_at_half_their_strength(tmp_path, name):
    codec, rate = FORMATS[name]
    waveform = read_audio(encode_audio(tmp_path / name, codec, two_tones(1.0, rate), rate), sample_rate=16_000)
    assert waveform.duration_seconds == pytest.approx(1.0, abs=0.06)  # codecs pad to whole packets
    assert strength(waveform, LOW) == pytest.approx(0.2, abs=0.012)
    assert strength(waveform, HIGH) == pytest.approx(0.2, abs=0.012)
    assert waveform.notes == ()


@pytest.mark.parametrize("name", ["a.m4a", "a.aac", "a.mp3", "a.webm", "a.ogg", "a.flac", "a.ts", "c.wav"])
def test_a_span_is_cut_from_the_same_time_line(tmp_path, name):
    codec, rate = FORMATS[name]
    path = encode_audio(tmp_path / name, codec, two_tones(2.0, rate), rate)
    whole = read_audio(path, sample_rate=16_000)
    part = read_audio(path, sample_rate=16_000, start_seconds=1.0, end_seconds=1.5)
    assert len(part.samples) == pytest.approx(8_000, abs=1)
    first = round((part.start_seconds - whole.start_seconds) * 16_000)
    shifts = range(-16, 17)  # timestamps in milliseconds allow for one millisecond
    assert min(np.abs(whole.samples[first + s :][500:7_500] - part.samples[500:7_500]).max() for s in shifts) < 0.03


@pytest.mark.parametrize("kind", ["u8", "s16", "s32", "flt", "dbl"])
@pytest.mark.parametrize("is_planar", [False, True])
def test_every_sample_format_has_the_same_range(kind, is_planar):
    dtype, full, middle = {
        "u8": ("u1", 128, 128),
        "s16": ("<i2", 2**15, 0),
        "s32": ("<i4", 2**31, 0),
        "flt": ("<f4", 1, 0),
        "dbl": ("<f8", 1, 0),
    }[kind]
    requested = np.array([[0.5, -1.0, 0.0, 0.25, -0.75], [-0.25, 0.5, 0.0, 0.75, -0.5], [0.0, 0.25, -1.0, 0.5, 0.75]])
    raw = (requested * full + middle).astype(dtype)
    values = raw if is_planar else raw.T.reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(values), format=kind + ("p" if is_planar else ""), layout="3.0"
    )
    assert np.allclose(channel_samples(frame), requested, atol=1e-6)


@pytest.mark.parametrize(("name", "codec"), [("j.aac", "aac"), ("j.mp3", "libmp3lame"), ("j.ts", "mp2")])
def test_a_rate_that_changes_in_mid_track(tmp_path, name, codec):
    suffix = name[1:]
    parts = [
        encode_audio(tmp_path / f"{rate}{suffix}", codec, sine(1.0, rate, hertz)[None], rate).read_bytes()
        for rate, hertz in ((16_000, LOW), (32_000, HIGH))
    ]
    (tmp_path / name).write_bytes(b"".join(parts))
    waveform = read_audio(tmp_path / name, sample_rate=16_000)
    assert waveform.duration_seconds == pytest.approx(2.0, abs=0.2)
    for hertz, start, end in ((LOW, 0.2, 0.8), (HIGH, 1.3, 1.8)):
        assert strength(waveform, hertz, start, end) == pytest.approx(0.4, abs=0.03)


def test_joined_recordings_follow_one_another(tmp_path):
    parts = [
        encode_audio(tmp_path / f"{hertz}.ogg", "libopus", sine(1.0, 48_000, hertz)[None], 48_000).read_bytes()
        for hertz in (LOW, HIGH)
    ]
    (tmp_path / "chain.ogg").write_bytes(b"".join(parts))
    waveform = read_audio(tmp_path / "chain.ogg", sample_rate=16_000)
    assert waveform.duration_seconds == pytest.approx(2.0, abs=0.01)
    assert strength(waveform, LOW, 0.2, 0.8) > 0.3 < strength(waveform, HIGH, 1.2, 1.8)
    assert "jumps 1 times; the parts were joined" in waveform.notes[0]
    part = read_audio(tmp_path / "chain.ogg", sample_rate=16_000, start_seconds=1.1, end_seconds=1.9)
    assert part.start_seconds == pytest.approx(1.1)
    assert strength(part, HIGH) > 0.3 > 0.01 > strength(part, LOW)


def test_audio_that_starts_after_the_video_and_before_it(tmp_path):
    late = join(encode(tmp_path / "v.mkv", count=20), sine(1.0, 16_000, LOW), tmp_path / "late.mkv", 0.7)
    waveform = read_audio(late, sample_rate=16_000)
    assert waveform.start_seconds == pytest.approx(0.7, abs=0.001)
    assert len(waveform.samples) == 16_000
    part = read_audio(late, sample_rate=16_000, start_seconds=0.5, end_seconds=1.0)
    assert part.start_seconds == pytest.approx(0.7, abs=0.001)
    assert part.duration_seconds == pytest.approx(0.3, abs=0.001)
    early = join(encode(tmp_path / "w.mkv", count=20, start=0.5), sine(1.0, 16_000, LOW), tmp_path / "early.mkv", 0.0)
    assert read_audio(early, sample_rate=16_000).start_seconds == 0.0
    with VideoReader(early) as reader:
        assert reader.pts_seconds[0] == pytest.approx(0.5, abs=0.001)


def join(video, samples, path, start):
    """The packets of a video and PCM audio from `start` seconds on, in one Matroska file."""
    with av.open(str(video)) as source, av.open(str(path), "w") as out:
        frames = out.add_stream_from_template(source.streams.video[0])
        audio = out.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = frames
                out.mux_one(packet)
        frame = av.AudioFrame.from_ndarray((samples[None] * 32_767).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16_000, round(start * 16_000)
        out.mux(audio.encode(frame))
        out.mux(audio.encode(None))
    return path


def test_channels_that_cancel_are_reported(tmp_path):
    left = sine(0.5, 16_000, LOW)
    path = encode_audio(tmp_path / "x.wav", "pcm_s16le", np.stack([left, -left]), 16_000)
    with open_source(path, "audio") as source:
        assert source.notes == []
        assert np.abs(source.read_waveform(16_000).samples).max() < 1e-3
        assert "cancel each other (antiphase)" in source.notes[0]
        source.read_waveform(16_000)
        assert len(source.notes) == 1
