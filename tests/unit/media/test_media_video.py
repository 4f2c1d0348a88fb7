"""The index reader: any frames, in any order, equal those of a sequential decode, bit for bit."""

import re
import time
from fractions import Fraction

import av
import numpy as np
import pytest

from tests.unit.media.media_files import encode, pattern, sequential
from vidweave.errors import MediaDecodeError, MediaLimitError, MediaTypeError, ShapeError
from vidweave.media.limits import Limits
from vidweave.media.video import VideoReader

CODECS = {
    "h264.mp4": ("libx264", {}),
    "h264_open_gop.mp4": ("libx264", {"options": {"x264-params": "open-gop=1:bframes=3:b-pyramid=normal"}}),
    "h264.avi": ("libx264", {}),
    "h264.ts": ("libx264", {}),
    "hevc.mkv": ("libx265", {"options": {"x265-params": "log-level=none:open-gop=1"}}),
    "vp8.webm": ("libvpx", {"options": {"auto-alt-ref": "1", "lag-in-frames": "10"}}),
    "vp9.webm": ("libvpx-vp9", {}),
    "mpeg4.avi": ("mpeg4", {"b_frames": 2}),
    "mpeg2.mpg": ("mpeg2video", {"b_frames": 2}),
    "mjpeg.avi": ("mjpeg", {"pixel_format": "yuvj420p"}),
    "ffv1.mkv": ("ffv1", {}),
    "h264_444.mp4": ("libx264", {"pixel_format": "yuv444p"}),
    "h264_10bit.mp4": ("libx264", {"pixel_format": "yuv420p10le"}),
    "odd.mkv": ("ffv1", {"pixel_format": "yuv444p", "size": (37, 23)}),
    "gif.gif": ("gif", {"pixel_format": "rgb8"}),
    "flv.flv": ("flv", {}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("clips")


@pytest.mark.parametrize("name", CODECS)
def test_frames_equal_those_of_a_sequential_decode(name, folder):
    codec, options = CODECS[name]
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no encoder {codec}")
    path = encode(folder / name, codec, **options)
    expected = sequential(path)
    rng = np.random.default_rng(3)
    with VideoReader(path) as reader:
        assert reader.num_frames == len(expected) == 30
        assert np.allclose(np.diff(reader.pts_seconds), 0.1, atol=0.002)
        for count in (1, 2, 5, 11, 30):
            asked = rng.choice(30, count, replace=False)
            frames = reader.read(asked)
            assert np.array_equal(frames.values, expected[asked]), (count, asked)
            assert np.array_equal(frames.indices, asked)
            assert frames.num_lost == 0
        for index in range(30):
            assert np.array_equal(reader.read([index]).values[0], expected[index]), index
        assert reader.num_corrupt_packets == 0
        assert reader.notes == ([f"{reader.label}: 10 bits per channel were reduced to 8"] if "10bit" in name else [])


@pytest.mark.slow
def test_av1_frames_equal_those_of_a_sequential_decode(folder):
    path = encode(folder / "av1.mp4", "libsvtav1", options={"preset": "12"})
    expected = sequential(path)
    with VideoReader(path) as reader:
        for asked in ([4], [0, 29], [13, 12, 25]):
            assert np.array_equal(reader.read(asked).values, expected[asked])


def test_repeats_and_any_order_are_allowed(folder):
    path = encode(folder / "order.mp4")
    expected = sequential(path)
    asked = [7, 3, 3, 29, 7, 0]
    with VideoReader(path) as reader:
        frames = reader.read(asked)
    assert np.array_equal(frames.values, expected[asked])
    assert frames.indices.tolist() == asked
    assert np.allclose(frames.pts_seconds, np.array(asked) / 10)


def test_bytes_are_read_like_a_file(folder):
    path = encode(folder / "bytes.mp4")
    with VideoReader(path.read_bytes()) as reader:
        assert np.array_equal(reader.read([5, 17]).values, sequential(path)[[5, 17]])


def test_a_seek_is_planned_where_it_pays(folder):
    path = encode(folder / "long.mp4", count=120, gop=20, options={"sc_threshold": "0"})
    with VideoReader(path) as reader:
        runs = reader.index.runs(np.array([2, 3, 61, 119]))
        assert [(run.start, len(run.requested)) for run in runs] == [(0, 2), (60, 1), (100, 1)]
        assert len(reader.index.runs(np.arange(0, 120, 4))) == 1  # dense: one run, no seek


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(degrees, folder):
    plain = encode(folder / f"plain{degrees}.mp4", size=(64, 32))
    turned = encode(folder / f"turned{degrees}.mp4", size=(64, 32), rotation=degrees)
    with VideoReader(plain) as reader:
        upright = reader.read([4]).values[0]
    with VideoReader(turned) as reader:
        assert reader.rotation == degrees
        assert (reader.width, reader.height) == ((64, 32) if degrees == 180 else (32, 64))
        assert np.array_equal(reader.read([4]).values[0], np.rot90(upright, degrees // 90))


def test_times_start_at_zero_for_a_file_that_does_not(folder):
    path = encode(folder / "late.mkv", start=5.0)
    with VideoReader(path) as reader:
        assert reader.pts_seconds[0] == 0.0
        assert reader.duration_seconds == pytest.approx(3.0, abs=0.01)


def test_variable_rate_keeps_its_times(folder):
    times = [0.0, 0.05, 0.5, 0.52, 2.0, 2.25, 4.0]
    path = encode(folder / "vfr.mkv", times=times, count=7)
    with VideoReader(path) as reader:
        assert np.allclose(reader.pts_seconds, times, atol=0.002)
        assert np.array_equal(reader.read([2, 6]).values, sequential(path)[[2, 6]])


def test_one_frame(folder):
    path = encode(folder / "one.mp4", count=1)
    with VideoReader(path) as reader:
        assert reader.num_frames == 1
        assert reader.duration_seconds == pytest.approx(0.1)
        assert reader.read([0, 0]).values.shape == (2, 48, 64, 3)


def test_audio_does_not_count_as_frames(folder):
    path = encode(folder / "sound.mp4", sound_seconds=3.0)
    with VideoReader(path) as reader:
        assert reader.num_frames == reader.num_frames_from_header == 30


@pytest.mark.parametrize(
    ("aspect", "options", "expected"),
    [
        (None, {}, []),
        ((1, 1), {}, []),
        ((4, 3), {}, [r"pixels are not square \(4:3\); frames are returned as stored \(64x48\), players show 85x48"]),
        ((3, 4), {}, [r"\(3:4\).*players show 48x48"]),
        (None, {"transfer": 16}, [r"HDR \(PQ\) was reduced to 8 bits without tone mapping"]),
        (None, {"transfer": 18}, [r"HDR \(HLG\)"]),
        ((4, 3), {"transfer": 1}, [r"not square", r"10 bits per channel were reduced to 8"]),
    ],
)
def test_what_is_converted_is_reported(aspect, options, expected, folder):
    path = folder / "told.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuv420p10le" if options else "yuv420p"
        if aspect:
            stream.codec_context.sample_aspect_ratio = Fraction(*aspect)
        if options:
            stream.codec_context.color_trc = options["transfer"]
        for frame in pattern(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=stream.pix_fmt)))
        out.mux(stream.encode(None))
    with VideoReader(path) as reader:
        notes = reader.notes
        assert reader.read([0]).values.shape == (1, 48, 64, 3)
    assert len(notes) == len(expected)
    assert all(re.search(pattern, note) for pattern, note in zip(expected, notes, strict=True)), notes


def test_threads_give_the_same_frames(folder):
    path = encode(folder / "threads.mp4", count=60)
    with VideoReader(path, num_threads=1) as one, VideoReader(path, num_threads=3) as three:
        asked = [1, 14, 33, 58]
        assert np.array_equal(one.read(asked).values, three.read(asked).values)


@pytest.mark.parametrize("asked", [[30], [-1, 2], [], [0.5]])
def test_impossible_indices_are_refused(asked, folder):
    path = encode(folder / "index.mp4")
    with VideoReader(path) as reader, pytest.raises(ShapeError, match=r"indices must be|0\.\.29"):
        reader.read(asked)


def test_caps_name_their_setting(folder):
    path = encode(folder / "caps.mp4")
    for setting, value in {"max_file_bytes": 100, "max_pixels": 64 * 47, "max_frames": 29, "max_seconds": 2.9}.items():
        with pytest.raises(MediaLimitError, match=rf"raise Limits\.{setting}"):
            VideoReader(path, limits=Limits(**{setting: value}))
    with VideoReader(path, limits=Limits(max_decoded_bytes=64 * 48 * 3 * 4)) as reader:
        assert len(reader.read([0, 1, 2, 3])) == 4
        with pytest.raises(MediaLimitError, match=r"raise Limits\.max_decoded_bytes"):
            reader.read([0, 1, 2, 3, 4])
        with pytest.raises(MediaLimitError, match=r"raise Limits\.max_decoded_bytes"):
            reader.read([0, 0, 0, 0, 0])


def test_a_slow_decode_is_stopped(folder, monkeypatch):
    path = encode(folder / "slow.mp4")
    with VideoReader(path, limits=Limits(max_decode_seconds=5.0)) as reader:
        clock = iter(range(0, 1_000, 3))
        monkeypatch.setattr(time, "monotonic", lambda: next(clock))
        with pytest.raises(MediaLimitError, match=r"raise Limits\.max_decode_seconds"):
            reader.read(range(30))


def test_corrupt_packets_are_survived_and_counted(folder):
    path = encode(folder / "corrupt.mp4", count=60, gop=12, options={"bf": "0"})
    data = bytearray(path.read_bytes())
    with VideoReader(bytes(data)) as reader:
        with av.open(str(path)) as container:
            packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
        expected = reader.read(range(60)).values
    for position, size in packets[24:27]:  # a keyframe and what follows
        data[position : position + size] = bytes([0xFF]) * size
    with VideoReader(bytes(data)) as reader:
        assert reader.num_frames == 60
        frames = reader.read([10, 24, 50])
        assert frames.num_lost == 1
        assert frames.indices.tolist() == [10, 24, 50]
        assert reader.num_corrupt_packets >= 1
        assert any("corrupt packets" in note for note in reader.notes)
        assert np.array_equal(frames.values[0], expected[10])
        assert np.array_equal(frames.values[2], expected[50])
        near = [np.abs(frames.values[1].astype(int) - expected[i]).mean() for i in range(60)]
        assert int(np.argmin(near)) in (22, 23, 27, 28)  # the stand-in is a neighbour
    message = r"1 of 3 frames cannot be decoded.*Limits\.max_lost_fraction"
    with (
        VideoReader(bytes(data), limits=Limits(max_lost_fraction=0.0)) as reader,
        pytest.raises(MediaDecodeError, match=message),
    ):
        reader.read([10, 24, 50])


def test_a_header_that_claims_too_much_is_not_believed(folder):
    path = encode(folder / "claims.mp4", count=60, container={"movflags": "faststart"})
    data = path.read_bytes()
    with VideoReader(data[: int(len(data) * 0.8)]) as reader:
        assert reader.num_frames_from_header == 60
        assert 20 < reader.num_frames < 60
        assert any("header says 60 frames" in note for note in reader.notes)
        frames = reader.read([0, reader.num_frames // 2])
        assert np.array_equal(frames.values, sequential(path)[[0, reader.num_frames // 2]])


def test_audio_only_names_the_right_option(folder):
    path = folder / "only.m4a"
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with pytest.raises(MediaTypeError, match=r"audio but no video.*--audio"):
        VideoReader(path)


def test_a_file_that_changes_is_refused(folder):
    path = encode(folder / "changes.mp4")
    with VideoReader(path) as reader:
        with path.open("ab") as file:
            file.write(b"more")
        with pytest.raises(MediaDecodeError, match="changed while it was being read"):
            reader.read([0])


def test_a_deleted_file_is_still_read(folder):
    path = encode(folder / "deleted.mp4")
    expected = sequential(path)
    with VideoReader(path) as reader:
        path.unlink()
        assert np.array_equal(reader.read([3, 20]).values, expected[[3, 20]])


def test_sizes_that_change_on_the_way_give_one_size(folder):
    small, large = (encode(folder / f"s{w}.ts", size=(w, 48), count=12, pictures=pattern(12, 48, w)) for w in (64, 96))
    path = folder / "both.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    with VideoReader(path) as reader:
        assert reader.read([0, reader.num_frames - 1]).values.shape == (2, 48, 64, 3)


# ---- files that are built in unusual ways


def remux(source, target, keep=lambda i: True, shift=0):
    """Copy the packets of a video into another file, some left out or all moved in time."""
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(source)) as given, av.open(str(target), "w", container_options=options) as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for i, packet in enumerate(given.demux(video=0)):
            if packet.size and keep(i):
                packet.dts = (packet.pts if packet.dts is None else packet.dts) + shift
                packet.pts += shift
                packet.stream = stream
                out.mux(packet)
    return target


def test_two_video_streams_are_distinguished(folder):
    path = folder / "two.mkv"
    with av.open(str(path), "w") as out:
        streams = [out.add_stream("ffv1", rate=10) for _ in range(2)]
        for stream, size in zip(streams, [(64, 48), (32, 24)], strict=True):
            stream.width, stream.height, stream.pix_fmt = *size, "yuv444p"
        for frame in pattern(4):
            for stream, step in zip(streams, (1, 2), strict=True):
                small = np.ascontiguousarray(frame[::step, ::step])
                out.mux(stream.encode(av.VideoFrame.from_ndarray(small, format="rgb24").reformat(format="yuv444p")))
        for stream in streams:
            out.mux(stream.encode(None))
    with VideoReader(path) as reader:
        assert (reader.num_frames, reader.width, reader.height) == (4, 64, 48)
        assert np.array_equal(reader.read([3]).values[0], sequential(path)[3])


def test_cover_art_is_no_video(folder):
    path = folder / "song.mp4"
    with av.open(str(path), "w") as out:
        audio = out.add_stream("aac", rate=16_000, layout="mono")
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        out.mux(cover.encode(av.VideoFrame.from_ndarray(pattern(1)[0], format="rgb24").reformat(format="yuvj420p")))
        out.mux(cover.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        out.mux(audio.encode(frame))
        out.mux(audio.encode(None))
    with pytest.raises(MediaTypeError, match="audio but no video"):
        VideoReader(path)


def test_missing_keyframe_at_the_start(folder):
    whole = encode(folder / "whole.ts", count=36, gop=12, options={"sc_threshold": "0", "bf": "0"})
    path = remux(whole, folder / "headless.ts", keep=lambda i: i >= 5)
    expected = sequential(whole)
    with VideoReader(path) as reader:
        assert reader.num_frames == 31
        frames = reader.read([10, 20, 30])  # frames 15, 25, 35 of the whole
        assert np.array_equal(frames.values, expected[[15, 25, 35]])
        assert frames.num_lost == 0
        early = reader.read([2, 20])  # nothing before the first keyframe can be decoded
        assert early.num_lost == 1
        assert np.array_equal(early.values[0], expected[12])


def test_negative_times_start_at_zero(folder):
    path = remux(encode(folder / "base.mkv", options={"bf": "0"}), folder / "negative.mkv", shift=-500)
    with VideoReader(path) as reader:
        assert reader.pts_seconds[0] == 0.0
        assert np.allclose(np.diff(reader.pts_seconds), 0.1, atol=0.002)
        assert np.array_equal(reader.read([0, 29]).values, sequential(path)[[0, 29]])


def test_interlaced(folder):
    path = encode(folder / "inter.mp4", options={"flags": "+ilme+ildct", "x264-params": "interlaced=1"})
    with VideoReader(path) as reader:
        assert np.array_equal(reader.read([3, 21]).values, sequential(path)[[3, 21]])


def test_lost_packets_in_the_middle(folder):
    whole = encode(folder / "full.ts", count=36, gop=12, options={"sc_threshold": "0", "bf": "0"})
    path = remux(whole, folder / "gap.ts", keep=lambda i: not 12 <= i < 24)
    with VideoReader(path) as reader:
        assert reader.num_frames == 24
        assert reader.pts_seconds[12] - reader.pts_seconds[11] == pytest.approx(1.3, abs=0.01)
        assert np.array_equal(reader.read([5, 20]).values, sequential(whole)[[5, 32]])


def test_unknown_codecs_are_refused(folder):
    data = encode(folder / "tag.avi", "mjpeg", pixel_format="yuvj420p").read_bytes()
    with pytest.raises(MediaTypeError, match="uses the codec 'unknown', which is not allowed"):
        VideoReader(data.replace(b"MJPG", b"ZZZZ"))
    path = encode(folder / "j2k.mkv", "jpeg2000", pixel_format="yuv420p")
    with pytest.raises(MediaTypeError, match="uses the codec 'jpeg2000', which is not allowed"):
        VideoReader(path)
