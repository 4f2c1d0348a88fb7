"""A packet is no frame, a timestamp is no name, and a key flag is no promise: odd streams give their true frames."""

from fractions import Fraction

import av
import numpy as np
import pytest

from tests.unit.media.field_files import FIELD, numbered, numbers_of
from tests.unit.media.media_files import encode, sequential
from vidweave.media.bitstream import FieldReader, is_hidden
from vidweave.media.limits import Limits
from vidweave.media.motion import read_motion
from vidweave.media.video import VideoReader
from vidweave.types import MotionSpec

# name → numbers of its frames, in order; duration in seconds
FIELD_CASES = {
    "paff_field_blocks.mkv": (list(range(12)), 0.48),
    "intra_refresh.mp4": (list(range(60)), 2.0),
    "concat_same.ts": (list(range(60)), 2.0),
    "dup_pts.mkv": (list(range(60)), 2.0),
    "trim_b.mkv": (list(range(60)), 2.0),
    "trim_tail.mp4": (list(range(60)), 2.0),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("packets")


def remux(source, target, change=lambda packet, i: [packet], **container):
    """Copy the packets of a video into another container, each replaced by what `change` makes of it."""
    with av.open(str(source)) as given, av.open(str(target), "w", **container) as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for i, packet in enumerate(given.demux(video=0)):
            if packet.size:
                for changed in change(packet, i):
                    changed.stream = stream
                    out.mux(changed)
    return target


def assert_frames(path, expected):
    """The frames carry the numbers `expected`: read together, each alone, in a jumble, and one by one through `each`."""
    with VideoReader(path) as reader:
        assert reader.num_frames == len(expected)
        frames = reader.read(range(len(expected)))
        assert numbers_of(frames.values) == expected
        assert frames.num_lost == 0
    with VideoReader(path) as reader:
        for index in (*range(len(expected) - 1, -1, -7), len(expected) // 3):
            frames = reader.read([index])
            assert (numbers_of(frames.values), frames.num_lost) == ([expected[index]], 0), index
        jumble = np.random.default_rng(4).permutation(len(expected))[:5]
        assert numbers_of(reader.read(jumble).values) == [expected[i] for i in jumble]
    with VideoReader(path) as reader:
        chosen = list(range(2, len(expected), 5))
        each = dict(reader.each(chosen))
        assert {index: numbers_of(value[None])[0] for index, value in each.items()} == {i: expected[i] for i in chosen}


@pytest.mark.parametrize("name", FIELD_CASES)
def test_field_files_give_their_true_frames(name):
    expected, seconds = FIELD_CASES[name]
    assert_frames(FIELD / name, expected)
    with VideoReader(FIELD / name) as reader:
        assert reader.duration_seconds == pytest.approx(seconds, abs=0.011)
        gaps = np.diff(reader.pts_seconds)
        assert (gaps >= 0).all()
        assert np.median(gaps) == pytest.approx(seconds / len(expected), abs=0.001)


def test_field_pairs_are_found_in_a_transport_stream_too(folder):
    # there they carry start codes instead of lengths, and no timestamp for the second field
    path = remux(FIELD / "paff_field_blocks.mkv", folder / "paff.ts")
    assert_frames(path, list(range(12)))
    with VideoReader(path) as reader:
        assert np.allclose(reader.pts_seconds, np.arange(12) / 25, atol=0.001)


@pytest.mark.parametrize(
    ("first", "second"),
    # the second recording's clock: behind, ahead, and so far behind that FFmpeg takes it for a wrap of 26.5 hours
    [(20.0, 16.0), (5.0, 400.0), (300.0, 100.0)],
)
@pytest.mark.parametrize("b_frames", [0, 2])
def test_time_goes_on_where_recordings_are_joined(first, second, b_frames, folder):
    parts = [
        encode(folder / f"part{start}.ts", start=start, b_frames=b_frames, pictures=numbered(numbers), gop=8)
        for start, numbers in ((first, list(range(20))), (second, list(range(20, 45))))
    ]
    path = folder / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert_frames(path, list(range(45)))
    with VideoReader(path) as reader:
        assert np.allclose(reader.pts_seconds, np.arange(45) / 10, atol=0.001)
        assert reader.duration_seconds == pytest.approx(4.5, abs=0.001)
        assert any("jumps at 1 place" in note for note in reader.notes)


def test_a_hole_in_a_recording_is_no_joint(folder):
    path = encode(folder / "hole.ts", times=[0.0, 0.1, 0.2, 7.0, 7.1], count=5, pictures=numbered([1, 2, 3, 4, 5]))
    with VideoReader(path) as reader:
        assert np.allclose(reader.pts_seconds, [0.0, 0.1, 0.2, 7.0, 7.1], atol=0.002)
        assert reader.notes == []


@pytest.mark.parametrize(("codec", "name"), [("mpeg4", "m.mp4"), ("mpeg2video", "m2.mp4"), ("flv", "f.flv")])
def test_a_key_flag_on_every_packet_is_not_believed(codec, name, folder):
    def flag(packet, i):
        packet.is_keyframe = True
        return [packet]

    path = remux(encode(folder / f"honest_{name}", codec, pictures=numbered(list(range(30)))), folder / name, flag)
    with VideoReader(path) as reader:
        assert len(reader.index.key_position) == 30
    assert_frames(path, list(range(30)))


def test_a_real_keyframe_is_kept(folder):
    path = encode(folder / "real.mp4", gop=6, options={"sc_threshold": "0"})
    with VideoReader(path) as reader:
        reader.read([29])
        reader.read(range(30))
        assert len(reader.index.key_position) == 5


def test_vectors_begin_at_a_real_keyframe():
    spec = MotionSpec(source="motion_vectors", fps=10.0, height=8, width=16)
    with VideoReader(FIELD / "intra_refresh.mp4") as whole, VideoReader(FIELD / "intra_refresh.mp4") as part:
        expected = read_motion(whole, spec).values[15:18]
        values = read_motion(part, spec, span=(1.5, 1.8)).values
    np.testing.assert_allclose(values, expected, atol=1e-6)


def test_hidden_frames_in_packets_of_their_own_are_no_frames(folder):
    """A copy of the first keyframe, marked as not shown: the frames that follow are predicted from it just as well."""

    def hide(packet, i):
        if i:
            return [packet]
        data = bytearray(bytes(packet))
        data[0] &= ~0x02  # show_frame of profile 0
        hidden = av.Packet(bytes(data))
        hidden.pts, hidden.dts, hidden.time_base = packet.pts + 1, packet.dts + 1, packet.time_base
        return [packet, hidden]

    whole = encode(folder / "whole.webm", "libvpx-vp9", pictures=numbered(list(range(30))))
    path = remux(whole, folder / "hidden.avi", hide)  # other muxers would join the two packets
    with av.open(str(path)) as container:
        assert sum(packet.size > 0 for packet in container.demux(video=0)) == 31
    assert_frames(path, list(range(30)))


@pytest.mark.parametrize(
    ("first", "last", "hidden"),
    [
        (0b10_00_0_0_1_0, 0x00, False),  # a shown keyframe
        (0b10_00_0_1_0_0, 0x00, True),  # a frame that is not shown
        (0b10_00_1_0_0_0, 0x00, False),  # shows a frame that was decoded before
        (0b10_00_0_1_0_0, 0xC1, False),  # a superframe ends with the frame that is shown
        (0b10_11_0_0_1_0, 0x00, True),  # profile 3: the same bits, one place further
        (0b10_11_0_0_0_1, 0x00, False),
        (0b10_11_0_1_0_0, 0x00, False),
    ],
)
def test_show_bits_of_vp9(first, last, hidden):
    assert is_hidden("vp9", bytes([first, 0x49, last])) is hidden
    assert is_hidden("h264", bytes([first, 0x49, last])) is False


def test_packed_b_frames(folder):
    """DivX's way: a P and a B frame in one packet, then a packet that says no more than "no change"."""
    whole = encode(folder / "whole.mp4", "mpeg4", b_frames=1, pictures=numbered(list(range(30))))
    with av.open(str(whole)) as given:
        extradata = given.streams.video[0].codec_context.extradata + b"\x00\x00\x01\xb2DivX503b1393p"
        packets = [bytes(packet) for packet in given.demux(video=0) if packet.size]
    kinds = [packet[packet.index(b"\x00\x00\x01\xb6") + 4] >> 6 for packet in packets]  # 0 I, 1 P, 2 B
    packed = []
    for packet, kind, following in zip(packets, kinds, [*kinds[1:], None], strict=True):
        if kind == 2:
            packed[-1] += packet
            packed.append(b"\x00\x00\x01\xb6\x50\x00\x00")  # a P frame, "not coded"
        else:
            packed.append(packet)
        assert not kind == following == 2
    path = folder / "packed.avi"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.extradata = extradata
        for i, data in enumerate(packed):
            packet = av.Packet(extradata + data if i == 0 else data)
            packet.pts = packet.dts = i
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 10), stream, i == 0
            out.mux(packet)
    assert_frames(path, list(range(30)))


def test_fields_are_not_searched_for_where_none_can_be(folder):
    for options in ({}, {"profile": "high"}):
        path = encode(folder / "frames.mp4", count=2, options=options)
        with VideoReader(path) as reader:
            assert FieldReader.of("h264", reader.stream.codec_context.extradata) is None
    path = encode(folder / "mbaff.mkv", options={"flags": "+ilme+ildct", "x264-params": "interlaced=1"}, b_frames=2)
    with VideoReader(path) as reader:  # fields may be coded, but every packet is a frame
        fields = FieldReader.of("h264", reader.stream.codec_context.extradata)
        slices = [fields.read(packet) for _, packet in reader.decoder.packets(reader.index, 0)]
        assert {s.parity for s in slices} == {None}
        assert reader.num_frames == 30
        assert np.array_equal(reader.read([7, 22]).values, sequential(path)[[7, 22]])
    assert fields.read(b"\x00\x00\x00\x09\x65") is None  # a unit that ends early
    assert FieldReader.of("h264", b"\x01\x64\x00") is None
    assert FieldReader.of("hevc", b"\x01\x64\x00") is None


def test_lost_frames_are_found_out_once(folder):
    """A frame whose own packet is broken is lost, and no more of the file is decoded for it than one group before."""
    path = encode(folder / "broken.mp4", count=60, gop=12, options={"bf": "0", "sc_threshold": "0"})
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for place, size in places[48:50]:  # a keyframe and the frame after it
        data[place : place + size] = bytes([0xFF]) * size
    with VideoReader(bytes(data), limits=Limits(max_lost_fraction=1.0)) as reader:
        begun = []
        packets = reader.decoder.packets
        reader.decoder.packets = lambda index, start: begun.append(start) or packets(index, start)
        assert reader.read([48]).num_lost == 1
        assert min(begun) >= 24
