"""Point clouds, features that were computed before, fingerprints, facts about files, and writing."""

import json
import os
import struct

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from tests.unit.media.media_files import encode, pattern, tone, write_wav
from vidweave.errors import MediaAccessError, MediaDecodeError, MediaError, MediaLimitError, MediaTypeError, ShapeError
from vidweave.media.fingerprint import content_hash
from vidweave.media.inspect import inspect_file
from vidweave.media.limits import Limits
from vidweave.media.open import open_source
from vidweave.media.points import read_points
from vidweave.media.precomputed import read_features
from vidweave.media.video import VideoReader
from vidweave.media.write import write_array, write_audio, write_image, write_points, write_video
from vidweave.types import Frames, PointCloud, PrecomputedFeatures, Waveform

POINTS = np.array([[0.5, -1.0, 2.0], [3.0, 4.0, 5.25], [-6.0, 7.0, -8.5]], np.float32)
COLOURS = np.array([[255, 0, 51], [0, 102, 0], [204, 255, 153]], np.uint8)


def ply(form, extra_header="", body=None):
    header = f"ply\nformat {form} 1.0\ncomment made here\nelement vertex 3\n"
    header += "property float x\nproperty double y\nproperty float z\n"
    header += "".join(f"property uchar {c}\n" for c in ("red", "green", "blue"))
    header += f"{extra_header}end_header\n"
    if body is None:
        rows = [(*map(float, p), *map(int, c)) for p, c in zip(POINTS, COLOURS, strict=True)]
        order = "<" if "little" in form else ">"
        if form == "ascii":
            body = "\n".join(" ".join(map(str, row)) for row in rows).encode() + b"\n"
        else:
            body = b"".join(struct.pack(f"{order}fdfBBB", *row) for row in rows)
    return header.encode() + body


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply(tmp_path, form):
    faces = "element face 1\nproperty list uchar int vertex_indices\n"
    (tmp_path / "x.ply").write_bytes(ply(form, faces) + b"3 0 1 2\n")
    cloud = read_points(tmp_path / "x.ply")
    assert np.allclose(cloud.coordinates, POINTS)
    assert np.allclose(cloud.features, COLOURS / 255)
    assert cloud.coordinates.dtype == cloud.features.dtype == np.float32


@pytest.mark.parametrize("width", [3, 6, 9])
def test_npy_clouds(tmp_path, width):
    values = np.random.default_rng(0).normal(size=(7, width))
    np.save(tmp_path / "x.npy", values)
    cloud = read_points(tmp_path / "x.npy")
    assert np.allclose(cloud.coordinates, values[:, :3], atol=1e-6)
    assert (cloud.features is None) == (width == 3)


def test_one_point(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((1, 3), np.float32))
    assert len(read_points(tmp_path / "x.npy")) == 1


def test_clouds_that_are_refused(tmp_path):
    bad = POINTS.copy()
    bad[1, 1] = np.nan
    np.save(tmp_path / "nan.npy", bad)
    np.save(tmp_path / "two.npy", POINTS[:, :2])
    np.save(tmp_path / "ints.npy", POINTS.astype(np.int64))
    np.save(tmp_path / "none.npy", np.zeros((0, 3), np.float32))
    (tmp_path / "short.ply").write_bytes(ply("binary_little_endian")[:-5])
    (tmp_path / "words.ply").write_bytes(ply("ascii", body=b"a b c 1 2 3\n" * 3))
    (tmp_path / "few.ply").write_bytes(ply("ascii", body=b"1 2 3 4 5 6\n"))
    (tmp_path / "nohead.ply").write_bytes(b"ply\nformat ascii 1.0\nelement vertex 3\n")
    (tmp_path / "broken.ply").write_bytes(ply("middle_endian", body=b""))
    (tmp_path / "text.ply").write_text("not a cloud at all")
    (tmp_path / "faces.ply").write_bytes(ply("ascii").replace(b"element vertex 3", b"element face 3"))
    expected = {
        "nan.npy": (MediaDecodeError, "1 values that are not finite.*point 1"),
        "two.npy": (MediaTypeError, r"\(P, 3\)"),
        "ints.npy": (MediaTypeError, "floats"),
        "none.npy": (MediaDecodeError, "empty array"),
        "short.ply": (MediaDecodeError, "header says 3 points, but there are 2"),
        "words.ply": (MediaDecodeError, "not numbers"),
        "few.ply": (MediaDecodeError, "header says 3 points, but there are 1"),
        "nohead.ply": (MediaDecodeError, "without the end of its header"),
        "broken.ply": (MediaDecodeError, "broken header"),
        "text.ply": (MediaTypeError, "not a point cloud"),
        "faces.ply": (MediaTypeError, "does not begin with vertices"),
    }
    for name, (error, message) in expected.items():
        with pytest.raises(error, match=message):
            read_points(tmp_path / name)


def test_points_are_capped_before_they_are_read(tmp_path):
    np.save(tmp_path / "x.npy", POINTS)
    (tmp_path / "lies.ply").write_bytes(ply("ascii").replace(b"vertex 3", b"vertex 99999999999"))
    for source, limits in [
        (tmp_path / "x.npy", Limits(max_points=2)),
        (tmp_path / "lies.ply", Limits()),
        (PointCloud(POINTS), Limits(max_points=2)),
    ]:
        with pytest.raises(MediaLimitError, match=r"raise Limits\.max_points"):
            read_points(source, limits=limits)


# ---- features


def test_features(tmp_path):
    values, seconds = np.ones((2, 3, 4), np.float16), np.array([[0, 1], [1, 2]], np.float32)
    save_file({"values": values, "seconds": seconds}, tmp_path / "x.safetensors", metadata={"encoder": "e"})
    features = read_features(tmp_path / "x.safetensors")
    assert np.array_equal(features.values, values)
    assert features.info == {"encoder": "e"}
    with open_source(tmp_path / "x.safetensors", "depth") as source:
        assert source.carrier == "features"
        assert source.read_features().seconds.tolist() == seconds.tolist()


def test_features_that_are_refused(tmp_path):
    good, seconds = np.ones((2, 3, 4), np.float32), np.zeros((2, 2), np.float32)
    for name, tensors, message in [
        ("a", {"values": good}, "has no tensor 'seconds'"),
        ("b", {"values": good, "seconds": seconds[:1]}, r"expected \(T, N, C\) and \(T, 2\)"),
        ("c", {"values": good.astype(np.int64), "seconds": seconds}, "floats were expected"),
        ("d", {"values": good * np.nan, "seconds": seconds}, "not finite"),
    ]:
        save_file(tensors, tmp_path / f"{name}.safetensors")
        with pytest.raises(MediaError, match=message):
            read_features(tmp_path / f"{name}.safetensors")
    data = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "short.safetensors").write_bytes(data[:-3])
    with pytest.raises(MediaDecodeError, match="broken safetensors"):
        read_features(tmp_path / "short.safetensors")
    (tmp_path / "text.safetensors").write_text("hello, hello, hello")
    with pytest.raises(MediaTypeError, match="not a safetensors file"):
        read_features(tmp_path / "text.safetensors")


# ---- fingerprints


def test_equal_content_has_equal_hashes_whatever_its_name(tmp_path):
    first = encode(tmp_path / "a.mp4", count=5)
    second = tmp_path / "b.mp4"
    second.write_bytes(first.read_bytes())
    assert content_hash(first) == content_hash(str(second)) == content_hash(first.read_bytes())
    second.write_bytes(first.read_bytes()[:-1] + b"!")
    assert content_hash(first) != content_hash(second)


def test_carriers_differ_by_values_times_shape_and_kind():
    base = pattern(2, 4, 6)
    sources = [
        Frames.from_array(base, fps=2),
        Frames.from_array(base, fps=3),
        Frames.from_array(base.reshape(2, 6, 4, 3), fps=2),
        Frames.from_array(base.astype(np.float32), fps=2),
        Waveform(np.zeros(4, np.float32), 8_000),
        Waveform(np.zeros(4, np.float32), 4_000),
        PointCloud(np.zeros((4, 3), np.float32)),
        PrecomputedFeatures(np.zeros((2, 3, 4), np.float32), np.zeros((2, 2))),
    ]
    hashes = [content_hash(source) for source in sources]
    assert len(set(hashes)) == len(hashes)
    assert content_hash(Frames.from_array(base.copy(), fps=2)) == hashes[0]


def test_folders_and_sidecars_count(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    for i in range(2):
        Image.fromarray(pattern(2)[i]).save(folder / f"{i}.png")
    seen = {content_hash(folder)}
    (folder / "frames.json").write_text('{"fps": 2}')
    seen.add(content_hash(folder))
    (folder / "0.png").rename(folder / "5.png")
    seen.add(content_hash(folder))
    (folder / "notes.txt").write_text("does not count")
    seen.add(content_hash(folder))
    assert len(seen) == 3
    np.save(tmp_path / "x.npy", np.zeros((2, 3, 4)))
    plain = content_hash(tmp_path / "x.npy")
    (tmp_path / "x.npy.json").write_text('{"fps": 2}')
    assert content_hash(tmp_path / "x.npy") != plain


# ---- facts


def test_facts_are_json_and_counted(tmp_path):
    video = encode(tmp_path / "v.mp4", count=25, gop=10, options={"sc_threshold": "0"}, sound_seconds=3.0, rotation=90)
    facts = json.loads(json.dumps(inspect_file(video)))
    assert facts["kind"] == "video"
    assert facts["duration_seconds"] == pytest.approx(3.0, abs=0.1)
    frame, audio = facts["streams"]
    expected = {"num_frames": 25, "num_frames_from_header": 25, "num_keyframes": 3, "rotation": 90, "codec": "h264"}
    assert {key: frame[key] for key in expected} == expected
    assert (frame["width"], frame["height"], frame["fps"]) == (48, 64, 10.0)
    assert frame["duration_seconds"] == pytest.approx(2.5)
    assert frame["is_constant_rate"]
    assert (audio["codec"], audio["sample_rate"], audio["num_channels"]) == ("aac", 16_000, 1)


def test_facts_of_everything_else(tmp_path):
    Image.fromarray(pattern(1)[0]).save(tmp_path / "x.png")
    np.save(tmp_path / "x.npy", np.zeros((3, 4, 5, 1), np.float32))
    (tmp_path / "x.ply").write_bytes(ply("ascii"))
    write_wav(tmp_path / "s.wav", np.stack([tone(0.75, 8_000)] * 3), 8_000)
    save_file({"values": np.zeros((2, 3, 4)), "seconds": np.ones((2, 2))}, tmp_path / "x.safetensors")
    folder = tmp_path / "f"
    folder.mkdir()
    Image.fromarray(pattern(1)[0]).save(folder / "a.png")
    Image.fromarray(pattern(1)[0]).save(folder / "b.png")
    facts = {name: inspect_file(tmp_path / name) for name in ("x.png", "x.npy", "x.ply", "s.wav", "x.safetensors", "f")}
    json.dumps(facts)
    assert [f["kind"] for f in facts.values()] == ["image", "array", "points", "audio", "features", "folder"]
    assert facts["x.png"]["streams"] == [
        {"type": "image", "num_frames": 1, "width": 64, "height": 48, "num_channels": 3}
    ]
    assert facts["x.npy"]["streams"][0]["shape"] == [3, 4, 5, 1]
    assert facts["x.ply"]["streams"][0] == {"type": "points", "num_points": 3, "feature_width": 3}
    assert facts["s.wav"]["duration_seconds"] == pytest.approx(0.75)
    assert facts["s.wav"]["streams"][0]["num_channels"] == 3
    assert facts["f"]["duration_seconds"] is None
    assert "no frame rate" in facts["f"]["notes"][0]


# ---- writing


@pytest.mark.parametrize(("name", "codec"), [("x.mp4", "h264"), ("x.mkv", "ffv1"), ("x.mkv", "h264")])
def test_lossless_round_trip_with_odd_sizes(tmp_path, name, codec):
    noise = np.random.default_rng(1).integers(0, 256, (9, 23, 37, 3), dtype=np.uint8)
    frames = Frames(noise, np.array([0, 0.1, 0.25, 0.3, 0.7, 1.0, 1.1, 2.0, 2.5]), np.arange(9))
    write_video(tmp_path / name, frames, codec=codec, lossless=True)
    with VideoReader(tmp_path / name) as reader:
        read = reader.read(range(9))
    assert np.array_equal(read.values, noise)
    assert np.allclose(read.pts_seconds, frames.pts_seconds, atol=2e-3)


@pytest.mark.parametrize(
    ("name", "codec"), [("x.mp4", "h264"), ("x.mkv", "hevc"), ("x.webm", "vp9"), ("x.avi", "mpeg4"), ("x.gif", "gif")]
)
def test_lossy_round_trip(tmp_path, name, codec):
    frames = Frames.from_array(np.repeat(np.arange(40, 220, 20, dtype=np.uint8), 64 * 48).reshape(-1, 48, 64, 1), fps=5)
    write_video(tmp_path / name, frames, codec=codec, fps=5)
    with VideoReader(tmp_path / name) as reader:
        read = reader.read(range(reader.num_frames))
        assert reader.duration_seconds == pytest.approx(1.8, abs=0.25)
    assert read.values.shape == (9, 48, 64, 3)
    assert np.abs(read.values.mean(axis=(1, 2, 3)) - np.arange(40, 220, 20)).max() < 20


def test_arrays_keep_values_and_times(tmp_path):
    frames = Frames(
        np.random.default_rng(0).normal(size=(3, 4, 5, 2)).astype(np.float32), np.array([0, 1, 3.0]), np.arange(3)
    )
    write_array(tmp_path / "flow.npy", frames)
    with open_source(tmp_path / "flow.npy", "flow") as source:
        read = source.read_frames([0, 1, 2])
    assert np.array_equal(read.values, frames.values)
    assert read.pts_seconds.tolist() == [0, 1, 3]


def test_points_keep_their_values(tmp_path):
    bare = PointCloud(POINTS.astype(np.float32))
    coloured = PointCloud(bare.coordinates, np.random.default_rng(0).random((len(bare), 5), np.float32))
    for cloud in (bare, coloured):
        read = read_points(write_points(tmp_path / "p.npy", cloud))
        assert np.array_equal(read.coordinates, cloud.coordinates)
        assert (read.features is None) if cloud.features is None else np.array_equal(read.features, cloud.features)


def test_images(tmp_path):
    frame = pattern(1)
    write_image(tmp_path / "x.png", Frames.from_array(frame, fps=1))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "x.png")), frame[0])
    write_image(tmp_path / "y.png", frame[0][..., :1])
    with pytest.raises(MediaError, match="no suffix of an image format"):
        write_image(tmp_path / "x.mp4", frame[0])
    with pytest.raises(ShapeError, match="an image must be uint8"):
        write_image(tmp_path / "x.png", frame[0].astype(np.float32))


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    frames = Frames.from_array(pattern(3), fps=5)
    odd = Frames.from_array(pattern(3, 23, 37), fps=5)
    still = Frames(pattern(2), np.zeros(2), np.arange(2))
    for make, error, message in [
        (lambda: write_video(tmp_path / "x.mp4", odd), MediaError, "even sizes, got 37x23"),
        (
            lambda: write_video(tmp_path / "x.mp4", frames, codec="h999"),
            MediaError,
            "unknown codec 'h999'; known: h264",
        ),
        (lambda: write_video(tmp_path / "x.mp4", still), ShapeError, "do not ascend; give fps"),
        (lambda: write_video(tmp_path / "x.mp4", frames, fps=-1), ShapeError, "fps must be positive"),
        (lambda: write_video(tmp_path / "x.what", frames), MediaError, "cannot be encoded"),
        (lambda: write_video(tmp_path / "x.webm", frames), MediaError, "cannot be encoded"),
        (
            lambda: write_video(tmp_path / "x.gif", frames, codec="gif", audio=Waveform(tone(1, 8_000), 8_000)),
            MediaError,
            "audio",
        ),
        (
            lambda: write_video(tmp_path / "x.mp4", Frames.from_array(np.zeros((2, 8, 8, 3)), fps=1)),
            ShapeError,
            "uint8",
        ),
        (lambda: write_array(tmp_path / "x.bin", frames), MediaError, r"must end with \.npy"),
        (lambda: write_points(tmp_path / "x.ply", PointCloud(POINTS)), MediaError, r"must end with \.npy"),
        (lambda: write_video(tmp_path / "no" / "x.mp4", frames), MediaAccessError, "cannot be written"),
        (
            lambda: write_audio(tmp_path / "no" / "x.wav", Waveform(tone(1, 8_000), 8_000)),
            MediaAccessError,
            "cannot be written",
        ),
    ]:
        with pytest.raises(error, match=message):
            make()
        assert os.listdir(tmp_path) == []
