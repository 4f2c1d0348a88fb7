"""Cuts show their span and nothing else, whatever the order in which the packets of the source are stored."""

from fractions import Fraction

import av
import numpy as np
import pytest

from tests.unit.media.field_files import FIELD, numbered, numbers_of
from tests.unit.media.media_files import encode
from vidweave.derive.cut_plan import _times
from vidweave.derive.edit_list import limit_video
from vidweave.derive.trim import Cut, cut_video
from vidweave.errors import MediaDecodeError, MediaTypeError
from vidweave.media.audio import read_audio
from vidweave.media.video import VideoReader

RATE = 16_000


def cut(source, start, end, out):
    """The numbers that the frames of a cut carry, and how early it begins."""
    early = cut_video(Cut(source=source, start_seconds=start, end_seconds=end), out)
    with VideoReader(out) as reader:
        frames = reader.read(range(reader.num_frames))
        assert frames.num_lost == 0
        assert reader.pts_seconds[0] == pytest.approx(0, abs=0.05)  # audio may begin a packet before
        return numbers_of(frames.values), early


@pytest.mark.parametrize(
    ("name", "start", "end", "first", "last"),
    [
        ("trim_b.mkv", 0.0, 0.5, 0, 14),
        ("trim_b.mkv", 0.7, 1.2, 15, 35),
        ("trim_b.mkv", 1.0, None, 30, 59),
        ("trim_tail.mp4", 1.0, 1.4, 30, 41),
        ("trim_tail.mp4", 0.3, 1.01, 0, 30),
        ("intra_refresh.mp4", 0.9, 1.0, 0, 29),  # 20 and 40 are no places to begin
        ("dup_pts.mkv", 0.2, 0.4, 0, 11),
        ("paff_field_blocks.mkv", 0.1, 0.3, 2, 7),
        ("concat_same.ts", 1.2, 1.4, 30, 41),
    ],
)
def test_field_files(name, start, end, first, last, tmp_path):
    shown, early = cut(FIELD / name, start, end, tmp_path / "cut.mp4")
    assert shown == list(range(first, last + 1))
    fps = 25 if name.startswith("paff") else 30
    assert early == pytest.approx(max(0, start - first / fps), abs=0.001)


STORED = {
    "h264.avi": ("libx264", {"b_frames": 3}),  # no presentation times at all
    "h264.ts": ("libx264", {"b_frames": 3}),
    "open.mp4": ("libx264", {"options": {"x264-params": "open-gop=1:bframes=3:b-pyramid=normal:scenecut=0"}}),
    "hevc.mkv": ("libx265", {"options": {"x265-params": "log-level=none:open-gop=1:bframes=3:scenecut=0"}}),
    "mpeg4.avi": ("mpeg4", {"b_frames": 2}),
    "mpeg2.mpg": ("mpeg2video", {"b_frames": 2}),
    "vp9.webm": ("libvpx-vp9", {}),
}


@pytest.mark.parametrize("name", STORED)
def test_every_order_of_packets(name, tmp_path):
    codec, options = STORED[name]
    source = encode(tmp_path / name, codec, count=40, gop=8, pictures=numbered(list(range(40))), **options)
    with VideoReader(source) as reader:
        times = reader.pts_seconds.round(3)  # AVI counts from the first decoding time: its first frame is at 0.1 s
        keys = reader.index.frame[reader.index.key_position]
    for start, end in ((0.0, 0.7), (1.3, 2.4), (2.5, None), (1.9, 2.0)):
        shown, early = cut(source, start, end, tmp_path / "cut.mp4")
        first = max(keys[times[keys] <= start], default=0)
        assert shown == list(range(first, 40 if end is None else (times < end).sum())), (start, end)
        assert early == pytest.approx(max(0, start - times[first]), abs=0.002)


def test_a_cut_of_a_cut_hides_what_its_source_hides(tmp_path):
    """The source shows 30..41; frames before and after are in it only because others need them."""
    once, twice = tmp_path / "once.mp4", tmp_path / "twice.mp4"
    assert cut(FIELD / "trim_tail.mp4", 1.0, 1.4, once)[0] == list(range(30, 42))
    assert cut(once, 0.0, None, twice)[0] == list(range(30, 42))
    early_hidden = tmp_path / "hidden.mp4"
    with av.open(str(FIELD / "trim_tail.mp4")) as given, av.open(str(early_hidden), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.size:
                shift = round(5 / 30 / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                out.mux(packet)
    with VideoReader(early_hidden) as reader:
        assert numbers_of(reader.read([0]).values) == [5]
    shown, early = cut(early_hidden, 0.1, 0.2, twice)
    assert (shown, early) == (list(range(5, 11)), pytest.approx(0.1, abs=0.001))


@pytest.mark.parametrize("rotation", [90, 180])
def test_orientation_stays(rotation, tmp_path):
    source = encode(tmp_path / "turned.mp4", rotation=rotation, gop=10)
    cut_video(Cut(source=source, start_seconds=1.0, end_seconds=1.5), tmp_path / "cut.mp4")
    cut_video(Cut(source=FIELD / "m_hflip.mp4", end_seconds=0.5), tmp_path / "mirrored.mp4")
    with VideoReader(tmp_path / "cut.mp4") as reader, VideoReader(tmp_path / "mirrored.mp4") as mirrored:
        assert (reader.rotation, mirrored.rotation, mirrored.is_mirrored) == (rotation, 0, True)


@pytest.mark.parametrize("name", ["late_audio.mkv", "late_video.mkv", "late_audio.mp4", "late_video.mp4", "late.ts"])
def test_audio_stays_with_the_frames(name, tmp_path):
    """Frame 20 and a beep come together at 2.0 s, though the streams begin at different times."""
    video_start, audio_start = (0.6, 0.0) if "video" in name else (0.0, 0.6)
    source = with_beep(tmp_path / name, video_start, audio_start, beep=2.0)
    assert beep_of(source) == pytest.approx(2.0, abs=0.03)
    with VideoReader(source) as reader:  # both streams are on one clock, whichever begins first
        shown = numbers_of(reader.read(range(reader.num_frames)).values)
        assert reader.pts_seconds[shown.index(20)] == pytest.approx(2.0, abs=0.03)
        assert reader.pts_seconds[0] == pytest.approx(video_start, abs=0.03)
    out = tmp_path / "cut.mp4"
    first = cut(source, 1.2, 3.0, out)[0][0]
    with VideoReader(out) as reader:
        at = float(reader.pts_seconds[20 - first])
    assert at == pytest.approx(2.0 - first / 10, abs=0.05)
    assert beep_of(out) == pytest.approx(at, abs=0.03)


def with_beep(path, video_start, audio_start, beep):
    """A file whose frames carry ten times their second, with a beep of 0.1 s at `beep`."""
    numbers = list(range(round(video_start * 10), 40))
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt, video.options = 64, 48, "yuv420p", {"bf": "0"}
        video.codec_context.gop_size = 5
        audio = out.add_stream("aac", rate=RATE, layout="mono")
        seconds = np.arange(round((4 - audio_start) * RATE)) / RATE + audio_start
        samples = np.where((seconds >= beep) & (seconds < beep + 0.1), np.sin(2 * np.pi * 800 * seconds), 0)
        for number, image in zip(numbers, numbered(numbers), strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            out.mux(video.encode(frame))
        waveform = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
        waveform.sample_rate, waveform.pts, waveform.time_base = RATE, round(audio_start * RATE), Fraction(1, RATE)
        out.mux(audio.encode(waveform))
        out.mux(video.encode(None))
        out.mux(audio.encode(None))
    return path


def beep_of(path):
    audio = read_audio(path, sample_rate=RATE)
    return audio.start_seconds + np.flatnonzero(np.abs(audio.samples) > 0.4)[0] / RATE


def test_codecs_that_mp4_cannot_hold(tmp_path):
    source = encode(tmp_path / "v.webm", "libvpx", count=5)
    with pytest.raises(MediaTypeError, match=r"codec 'vp8', which MP4 does not support; convert it to H\.264 first"):
        cut_video(Cut(source=source), tmp_path / "cut.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["v.webm"]


def test_decoding_times_ascend_and_never_come_after_presentation():
    rng = np.random.default_rng(2)
    for _ in range(50):
        count = int(rng.integers(1, 30))
        pts = rng.integers(-40, 40, count)
        got = _times(pts)
        dts = [d for _, d in got]
        assert (np.diff(dts) > 0).all()
        assert all(d <= p for p, d in got)


def test_a_file_without_an_edit_list_is_refused(tmp_path):
    path = encode(tmp_path / "plain.mkv", count=3)
    with pytest.raises(MediaDecodeError, match=r"plain\.mkv has no edit list"):
        limit_video(path, 1.0)
