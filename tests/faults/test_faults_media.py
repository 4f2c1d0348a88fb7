"""Hostile, broken and odd files: each is refused with a typed error and one clear line, or survived and counted."""

import json
import os
import socket
import struct
import subprocess
import sys
import zlib
from contextlib import suppress

import numpy as np
import pytest

from tests.unit.media.media_files import bytes_of, encode, pattern, sequential, tone, write_wav
from vidweave.errors import (
    InputError,
    MediaAccessError,
    MediaDecodeError,
    MediaError,
    MediaLimitError,
    MediaNotFoundError,
    MediaTypeError,
)
from vidweave.media import guards
from vidweave.media.audio import read_audio
from vidweave.media.image import read_image
from vidweave.media.inspect import inspect_file
from vidweave.media.limits import Limits
from vidweave.media.open import open_source
from vidweave.media.preprocess import apply
from vidweave.media.video import VideoReader
from vidweave.types import Frames, VisualSpec

RNG = np.random.default_rng(11)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return encode(tmp_path_factory.mktemp("faults") / "clip.mp4", count=90, container={"movflags": "faststart"})


def refuse(source, error=MediaError, match=None):
    """Every door refuses `source` in the same way; the message is one line without addresses."""
    for door in (lambda: open_source(source, "video"), lambda: inspect_file(source)):
        with pytest.raises(error, match=match) as caught:
            door()
        assert isinstance(caught.value, InputError)
        text = str(caught.value)
        assert "\n" not in text
        assert "0x" not in text


# ---- the table of probes


def test_empty_file(tmp_path):
    (tmp_path / "x.mp4").touch()
    refuse(tmp_path / "x.mp4", MediaDecodeError, "empty")


@pytest.mark.parametrize("size", [1, 17, 4_096, 100_000])
def test_random_bytes(tmp_path, size):
    (tmp_path / "x.mp4").write_bytes(RNG.bytes(size))
    refuse(tmp_path / "x.mp4", MediaError)


def test_text_named_mp4(tmp_path):
    (tmp_path / "x.mp4").write_text("This is a shopping list, not a film.\n" * 50)
    refuse(tmp_path / "x.mp4", MediaDecodeError, "cannot be decoded.*not an audio or video file")


def test_truncated_with_the_index_at_the_end(tmp_path):
    data = encode(tmp_path / "end.mp4", count=60).read_bytes()
    (tmp_path / "x.mp4").write_bytes(data[: len(data) * 8 // 10])
    refuse(tmp_path / "x.mp4", MediaDecodeError)


def test_truncated_with_the_index_in_front_is_used_and_reported(clip, tmp_path):
    data = clip.read_bytes()
    (tmp_path / "x.mp4").write_bytes(data[: len(data) * 8 // 10])
    with open_source(tmp_path / "x.mp4", "video") as source:
        pts, duration = source.timeline()
        assert 30 < len(pts) < 90
        frames = source.read_frames([0, len(pts) - 1])
        assert np.array_equal(frames.values[0], sequential(clip)[0])
        assert duration < 9.0
        assert any("the header says 90 frames" in note for note in source.notes)
    facts = inspect_file(tmp_path / "x.mp4")
    assert facts["streams"][0]["num_frames"] == len(pts)
    assert facts["streams"][0]["num_frames_from_header"] == 90


def test_flipped_payload_bytes(clip):
    data = bytearray(clip.read_bytes())
    start = data.index(b"mdat") + 4
    for place in np.linspace(start, len(data) - 1, 60).astype(int):
        data[place] ^= 0xFF
    # whatever is decodable is given, the rest is counted or refused
    with suppress(MediaDecodeError), VideoReader(bytes(data)) as reader:
        frames = reader.read(range(0, reader.num_frames, 7))
        assert frames.num_lost or reader.num_corrupt_packets or reader.notes


def test_no_image_decodes_at_all(clip):
    data = bytearray(clip.read_bytes())
    start = data.index(b"mdat") + 4
    data[start:] = RNG.bytes(len(data) - start)
    with VideoReader(bytes(data)) as reader, pytest.raises(MediaDecodeError, match="none of its 90 frames"):
        reader.read([0, 40])
    facts = inspect_file_of(bytes(data))
    assert facts["decodes"] is False


def inspect_file_of(data):
    from vidweave.media.inspect import _video

    with VideoReader(data) as reader:
        return _video(reader)


def test_audio_only_as_video(tmp_path):
    path = write_wav(tmp_path / "s.wav", tone(0.5, 8_000)[None], 8_000)
    with pytest.raises(MediaTypeError, match=r"audio but no video.*--audio"):
        open_source(path, "video")
    assert inspect_file(path)["kind"] == "audio"


def playlists(secret):
    name = secret.name
    return {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{secret}\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile {name}\n",
        "http": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
        "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
        f'<Representation id="1" bandwidth="1"><BaseURL>{name}</BaseURL></Representation></AdaptationSet></Period></MPD>',
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
    }


@pytest.mark.parametrize("trick", ["hls", "concat", "http", "dash", "sdp"])
@pytest.mark.parametrize("name", ["x.mp4", "x.m3u8", "x.txt", "x.mpd", "x.sdp"])
def test_playlists_that_name_other_files(clip, tmp_path, trick, name):
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(clip.read_bytes())
    (tmp_path / name).write_text(playlists(secret)[trick])
    kind = {"dash": "an XML file", "sdp": "a session description", "concat": "a list of files"}.get(trick, "a playlist")
    message = f"is {kind}.*which is not supported: give the media file itself"
    refuse(tmp_path / name, MediaTypeError, message)
    with pytest.raises(MediaTypeError, match=message):
        read_audio(tmp_path / name, sample_rate=8_000)


def test_a_movie_that_refers_to_another_file(clip, tmp_path):
    # an external data reference in a QuickTime file: FFmpeg follows it only when told to, and we never do
    data = bytearray(clip.read_bytes())
    place = data.index(b"url \x00\x00\x00\x01")
    data[place : place + 8] = b"url \x00\x00\x00\x00"
    with VideoReader(bytes(data)) as reader:
        assert reader.num_frames in (0, 90)


def test_decompression_bomb_many_large_images(tmp_path):
    still = np.zeros((12, 1_024, 1_024, 3), np.uint8)
    path = encode(tmp_path / "bomb.mp4", size=(1_024, 1_024), pictures=still, options={"preset": "ultrafast"})
    assert path.stat().st_size < 60_000
    with (
        VideoReader(path, limits=Limits(max_decoded_bytes=20_000_000)) as reader,
        pytest.raises(MediaLimitError, match=r"12 frames would take too many bytes.*raise Limits\.max_decoded_bytes"),
    ):
        reader.read(range(12))
    with pytest.raises(MediaLimitError, match=r"too many pixels.*raise Limits\.max_pixels"):
        VideoReader(path, limits=Limits(max_pixels=1_000_000))


def test_decompression_bomb_after_resizing():
    tiny = Frames.from_array(np.zeros((400, 16, 16, 3), np.uint8), fps=25)
    with pytest.raises(MediaLimitError, match=r"400 frames of 224x224.*raise Limits\.max_decoded_bytes"):
        apply(VisualSpec(height=224, width=224), tiny, limits=Limits(max_decoded_bytes=100_000_000))


@pytest.mark.parametrize(("side", "message"), [(20_000, "bomb"), (10_000, "too many pixels")])
def test_image_bomb(tmp_path, side, message):
    path = tmp_path / "bomb.png"
    path.write_bytes(one_bit_png(side))
    assert path.stat().st_size < 60_000
    with pytest.raises(MediaLimitError, match=rf"{message}.*Limits\.max_pixels"):
        read_image(path)
    refuse(path, MediaLimitError)


def one_bit_png(side):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    deflate = zlib.compressobj(9)
    row = bytes(1 + side // 8) * 100
    pixels = b"".join(deflate.compress(row) for _ in range(side // 100)) + deflate.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


# ---- paths


def test_missing_file(tmp_path):
    refuse(tmp_path / "none.mp4", MediaNotFoundError, "does not exist")
    refuse(str(tmp_path / ".." / "none" / "x.mp4"), MediaNotFoundError)


def test_a_part_of_the_path_is_a_file(clip):
    refuse(clip / "x.mp4", MediaNotFoundError, "not a folder")


def test_directory(tmp_path):
    with pytest.raises(MediaTypeError, match="has no image files"):
        open_source(tmp_path, "video")
    with pytest.raises(MediaTypeError, match="is a folder"):
        VideoReader(tmp_path)
    with pytest.raises(MediaTypeError, match="is a folder, but audio takes a file"):
        open_source(tmp_path, "audio")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/x.mp4",
        "https://127.0.0.1/x.mp4",
        "rtmp://x/y",
        "file:///etc/passwd",
        "concat:a.mp4|b.mp4",
        "data:video/mp4;base64,AAAA",
        "pipe:0",
        "subfile,,start,0,end,0,,:x.mp4",
    ],
)
def test_urls_and_protocols(url):
    refuse(url, (MediaAccessError, MediaNotFoundError), "is a URL, but only local files can be opened|does not exist")


def test_named_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    refuse(tmp_path / "pipe.mp4", MediaAccessError, "named pipe")


def test_device_and_socket(tmp_path, monkeypatch):
    refuse("/dev/zero", MediaAccessError, "character device")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.mp4")
        refuse("s.mp4", MediaAccessError, "socket")


def test_links(clip, tmp_path):
    inside, outside, loop = tmp_path / "inside.mp4", tmp_path / "outside.mp4", tmp_path / "loop.mp4"
    (tmp_path / "real.mp4").write_bytes(clip.read_bytes())
    inside.symlink_to("real.mp4")
    outside.symlink_to(clip)
    loop.symlink_to("loop.mp4")
    assert inspect_file(inside)["duration_seconds"] == pytest.approx(9.0)
    refuse(outside, MediaAccessError, r"leaves its folder.*Limits\.allow_outside_links")
    refuse(loop, MediaError)
    with VideoReader(outside, limits=Limits(allow_outside_links=True)) as reader:
        assert reader.num_frames == 90


@pytest.mark.parametrize(
    "name", ["a b.mp4", "наблюдение.mp4", "line\nbreak.mp4", "-x.mp4", "%d.mp4", "concat:x.mp4", "k" * 240 + ".mp4"]
)
def test_odd_names_are_only_names(clip, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(clip.read_bytes())
    with open_source(path, "video") as source:
        assert len(source.timeline()[0]) == 90
    (tmp_path / name).write_bytes(b"")
    refuse(path, MediaDecodeError, "empty")


@pytest.mark.parametrize("name", ["k" * 300 + ".mp4", "a\0b.mp4", ""])
def test_impossible_names(name, tmp_path):
    refuse(str(tmp_path / name) if name else name, MediaError)


@pytest.mark.parametrize("source", [None, 3, True, 2.5, object(), ["x.mp4"]])
def test_things_that_are_no_source(source):
    with pytest.raises(MediaTypeError, match="must be a path, bytes or a carrier"):
        open_source(source, "video")


def test_unreadable_permissions(clip, monkeypatch):
    def deny(*_, **__):
        raise PermissionError(13, "Permission denied", str(clip))

    monkeypatch.setattr(guards.os, "open", deny)
    refuse(clip, MediaAccessError, "cannot be read.*check its permissions")


def test_a_read_error_in_the_middle_is_no_end_of_file(clip):
    with VideoReader(clip) as reader:
        reader._file._file = FailingFile(reader._file._file)
        with pytest.raises(MediaAccessError, match=r"cannot be read.*Input/output error"):
            reader.read([0])


class FailingFile:
    """A file on a share that has gone away."""

    def __init__(self, file):
        self.seek, self.tell, self.fileno, self.close = file.seek, file.tell, file.fileno, file.close

    def read(self, size):
        raise OSError(5, "Input/output error")


def test_too_large_a_file_names_the_setting(clip):
    with pytest.raises(MediaLimitError, match=r"too many bytes: .*raise Limits\.max_file_bytes"):
        VideoReader(clip, limits=Limits(max_file_bytes=1_000))


# ---- frames, arrays and clouds


def test_truncated_and_broken_images(tmp_path):
    from PIL import Image

    noise = Image.fromarray(RNG.integers(0, 255, (80, 60, 3), dtype=np.uint8))
    for name in ("x.jpg", "x.png", "x.webp", "x.bmp", "x.tiff"):
        noise.save(tmp_path / name)
        data = (tmp_path / name).read_bytes()
        for share in (0.2, 0.6):
            (tmp_path / name).write_bytes(data[: int(len(data) * share)])
            with pytest.raises(MediaError):
                read_image(tmp_path / name)


def test_npy_that_lies_or_holds_objects(tmp_path):
    data = bytes_of(np.zeros((3, 4, 5), np.float32))
    (tmp_path / "short.npy").write_bytes(data[:-1])
    (tmp_path / "huge.npy").write_bytes(data.replace(b"(3, 4, 5)", b"(9999999, 9999, 9999)")[: len(data)])
    np.save(tmp_path / "pickle.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "garbage.npy").write_bytes(b"\x93NUMPY" + RNG.bytes(200))
    for name in ("short", "huge", "pickle", "garbage"):
        refuse(tmp_path / f"{name}.npy", MediaError)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("modality", ["depth", "flow", "normals"])
def test_values_that_are_not_finite(tmp_path, bad, modality):
    values = np.ones((4, 6, 5, 2), np.float32)
    values[2, 1, 1, 0] = bad
    np.save(tmp_path / "x.npy", values)
    for source in (tmp_path / "x.npy", Frames.from_array(values, fps=2)):
        with (
            pytest.raises(MediaDecodeError, match=r"not finite.*frame 2"),
            open_source(source, modality, fps=2) as opened,
        ):
            opened.read_frames([0, 1, 2])


def test_deeply_nested_timing(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 4, 4, 1), np.float32))
    (tmp_path / "x.npy.json").write_text("[" * 100_000)
    with pytest.raises(MediaDecodeError, match="not JSON"):
        open_source(tmp_path / "x.npy", "depth")
    for bad in (
        {"fps": 0},
        {"fps": "fast"},
        {"fps": True},
        {"pts_seconds": [0]},
        {"pts_seconds": [1, 0]},
        {"pts_seconds": "x"},
    ):
        (tmp_path / "x.npy.json").write_text(json.dumps(bad))
        with pytest.raises(MediaError, match=r"fps|pts_seconds"):
            open_source(tmp_path / "x.npy", "depth")


# ---- the process


def test_nothing_is_printed_and_no_torch_is_loaded(clip, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(clip.read_bytes()[:3_000] + RNG.bytes(5_000))
    code = (
        "import sys\n"
        "from vidweave.media.inspect import inspect_file\n"
        "from vidweave.errors import MediaError\n"
        f"inspect_file({str(clip)!r})\n"
        "try:\n"
        f"    inspect_file({str(tmp_path / 'bad.mp4')!r})\n"
        "except MediaError:\n"
        "    pass\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_random_damage_never_escapes_the_error_tree(clip):
    data = clip.read_bytes()
    rng = np.random.default_rng(5)
    survived = 0
    for _ in range(300):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 40)):
            broken[place] = rng.integers(256)
        if rng.random() < 0.3:
            broken = broken[: rng.integers(1, len(broken))]
        try:
            with VideoReader(bytes(broken), limits=Limits(max_decode_seconds=20.0)) as reader:
                reader.read(range(0, reader.num_frames, 9))
            survived += 1
        except MediaError:
            pass
    assert survived > 30


def test_pattern_is_what_the_tests_think():
    assert len(np.unique(pattern(30).reshape(30, -1), axis=0)) == 30
