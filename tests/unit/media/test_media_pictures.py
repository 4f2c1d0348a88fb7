"""Frame files, folders of them, arrays, and the one reader of them all."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.unit.media.media_files import bytes_of, encode, pattern, sequential, tone, write_wav
from vidweave.errors import (
    MediaDecodeError,
    MediaError,
    MediaLimitError,
    MediaTypeError,
    ModalityError,
    ShapeError,
    UnknownNameError,
)
from vidweave.media.image import read_image
from vidweave.media.limits import Limits
from vidweave.media.open import open_source
from vidweave.registry import MODALITIES
from vidweave.types import Frames, PointCloud, PrecomputedFeatures, Waveform

IMAGE_LIKE = [name for name in MODALITIES if MODALITIES.entry(name).facts.carrier == "frames"]
PICTURE = pattern(4, 23, 37)[3]


@pytest.mark.parametrize("name", ["x.png", "x.bmp", "x.tiff", "x.ppm", "no_ending", "wrong.jpg"])
def test_lossless_formats(tmp_path, name):
    kind = {"no_ending": "PNG", "wrong.jpg": "PNG"}.get(name)
    Image.fromarray(PICTURE).save(tmp_path / name, format=kind)
    frames = read_image(tmp_path / name)
    assert np.array_equal(frames.values[0], PICTURE)
    assert frames.pts_seconds.tolist() == [0.0]
    assert np.array_equal(read_image((tmp_path / name).read_bytes()).values, frames.values)


def test_exif_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    Image.fromarray(PICTURE).save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "x.png").values[0], np.rot90(PICTURE, -1))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "YCbCr", "I;16", "I"])
def test_modes_become_rgb(tmp_path, mode):
    suffix = "jpg" if mode in ("CMYK", "YCbCr") else "png"
    grey = np.arange(23 * 37, dtype=np.uint16).reshape(23, 37) * 77
    image = Image.fromarray(grey) if mode in ("I;16", "I") else Image.fromarray(PICTURE).convert(mode)
    image.save(tmp_path / f"x.{suffix}")
    values = read_image(tmp_path / f"x.{suffix}").values[0]
    assert values.shape == (23, 37, 3)
    assert values.dtype == np.uint8
    if mode == "I;16":
        assert np.abs(values[..., 0] - grey / 257).max() <= 0.5
    if mode == "RGBA":
        assert np.array_equal(values, PICTURE)


def test_several_images_are_no_image(tmp_path):
    stills = [Image.fromarray(p) for p in pattern(3)]
    stills[0].save(tmp_path / "x.gif", save_all=True, append_images=stills[1:], duration=200)
    for read in (read_image, lambda p: open_source(p, "image")):
        with pytest.raises(MediaTypeError, match="holds 3 images, but one was expected; give it as a video"):
            read(tmp_path / "x.gif")
    with open_source(tmp_path / "x.gif", "video") as source:
        assert len(source.timeline()[0]) == 3
    with pytest.raises(MediaTypeError, match="one was expected"):
        open_source(encode(tmp_path / "v.mp4", count=3), "image")


def test_text_is_no_image(tmp_path):
    (tmp_path / "x.jpg").write_text("hello there, this is text")
    with pytest.raises(MediaTypeError, match="not an image in a supported format"):
        read_image(tmp_path / "x.jpg")
    (tmp_path / "y.jpg").write_bytes(b"\xff\xd8\xff" + b"no more")
    with pytest.raises(MediaError):
        read_image(tmp_path / "y.jpg")


def test_pixels_are_capped(tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / "x.png")
    with pytest.raises(MediaLimitError, match=r"raise Limits\.max_pixels"):
        read_image(tmp_path / "x.png", limits=Limits(max_pixels=800))


# ---- folders


def folder_of(path, pictures, name="{}.png"):
    path.mkdir()
    for i, frame in enumerate(pictures):
        Image.fromarray(frame).save(path / name.format(i + 1))
    (path / "Thumbs.db").write_text("x")
    (path / ".hidden.png").write_text("x")
    return path


def test_folder_in_natural_order_with_its_rate(tmp_path):
    images = pattern(12)
    folder = folder_of(tmp_path / "f", images, "frame_{}.png")
    (folder / "frames.json").write_text(json.dumps({"fps": 4}))
    with open_source(folder, "video") as source:
        pts, duration = source.timeline()
        assert np.allclose(pts, np.arange(12) / 4)
        assert duration == 3.0
        frames = source.read_frames([11, 0, 9])
    assert np.array_equal(frames.values, images[[11, 0, 9]])
    with open_source(folder, "video", fps=8) as source:  # what is given goes before what is written
        assert source.timeline()[1] == 1.5


def test_folder_without_a_rate_is_refused(tmp_path):
    folder = folder_of(tmp_path / "f", pattern(2))
    with pytest.raises(
        MediaError,
        match=r"2 frames but no frame rate; give it \(Clip\(fps=…\), vidweave ask --fps …\), or write.*frames\.json",
    ):
        open_source(folder, "video")
    (folder / "frames.json").write_text(json.dumps({"pts_seconds": [0.5, 2.0]}))
    with open_source(folder, "thermal") as source:
        assert source.timeline()[0].tolist() == [0.5, 2.0]


def test_folder_of_two_sizes_is_refused(tmp_path):
    folder = folder_of(tmp_path / "f", [pattern(1)[0], pattern(1, 20, 30)[0]])
    with open_source(folder, "video", fps=1) as source, pytest.raises(MediaTypeError, match="30x20, others 64x48"):
        source.read_frames([0, 1])


def test_folder_caps(tmp_path):
    folder = folder_of(tmp_path / "f", pattern(5))
    with pytest.raises(MediaLimitError, match=r"raise Limits\.max_files"):
        open_source(folder, "video", fps=1, limits=Limits(max_files=4))
    limits = Limits(max_decoded_bytes=3 * 48 * 64 * 3)
    with (
        open_source(folder, "video", fps=1, limits=limits) as source,
        pytest.raises(MediaLimitError, match=r"raise Limits\.max_decoded_bytes"),
    ):
        source.read_frames(range(5))


# ---- arrays


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    ("shape", "pictures"),
    [
        ((5, 6, 7, 1), (5, 6, 7, 1)),
        ((5, 6, 7, 3), (5, 6, 7, 3)),
        ((5, 6, 7), (5, 6, 7, 1)),
        ((6, 7, 2), (1, 6, 7, 2)),
        ((6, 7), (1, 6, 7, 1)),
    ],
)
def test_arrays(tmp_path, shape, pictures, order):
    values = np.asarray(np.random.default_rng(0).normal(size=shape).astype(np.float32), order=order)
    np.save(tmp_path / "x.npy", values)
    with open_source(tmp_path / "x.npy", "depth", fps=2.0) as source:
        count = pictures[0]
        asked = [count - 1, 0]
        frames = source.read_frames(asked)
        assert np.array_equal(frames.values, values.reshape(pictures)[asked])
        assert len(source.timeline()[0]) == count


def test_array_times_beside_it(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 4, 5, 1), np.float32))
    with pytest.raises(MediaError, match=r"no frame rate.*NAME\.npy\.json"):
        open_source(tmp_path / "x.npy", "depth")
    (tmp_path / "x.npy.json").write_text(json.dumps({"pts_seconds": [0.0, 0.5, 2.0]}))
    with open_source(tmp_path / "x.npy", "depth") as source:
        assert source.timeline()[0].tolist() == [0.0, 0.5, 2.0]
        assert source.timeline()[1] == pytest.approx(3.0)


def test_array_as_bytes():
    with open_source(bytes_of(np.zeros((3, 4, 5, 1), np.float32)), "depth", fps=1) as source:
        assert len(source.timeline()[0]) == 3


@pytest.mark.parametrize("values", [np.zeros((3, 5, 5, 7)), np.zeros((3,)), np.zeros((2, 3, 4, 5, 6))])
def test_arrays_that_are_no_images(tmp_path, values):
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(MediaTypeError, match=r"has shape .*; frames must be"):
        open_source(tmp_path / "x.npy", "depth", fps=1)


@pytest.mark.parametrize("dtype", [np.int64, np.int16, np.uint32, bool])
def test_integers_have_no_known_range(tmp_path, dtype):
    np.save(tmp_path / "x.npy", np.zeros((3, 4, 5, 1), dtype))
    with (
        open_source(tmp_path / "x.npy", "depth", fps=1) as source,
        pytest.raises(MediaTypeError, match=r"frames must be uint8"),
    ):
        source.read_frames([0])


# ---- the one door


@pytest.mark.parametrize("modality", IMAGE_LIKE)
def test_every_image_like_modality_takes_every_image_source(tmp_path, modality):
    frame = pattern(1)
    Image.fromarray(frame[0]).save(tmp_path / "x.png")
    np.save(tmp_path / "x.npy", frame)
    folder = folder_of(tmp_path / "f", frame)
    for source in (tmp_path / "x.png", str(tmp_path / "x.npy"), folder, Frames.from_array(frame, fps=1)):
        with open_source(source, modality) as opened:
            assert opened.carrier == "frames"
            assert len(opened.timeline()[0]) == 1
            assert np.array_equal(opened.read_frames([0]).values, frame)
    if modality != "image":
        path = encode(tmp_path / "v.mp4", count=4)
        with open_source(path, modality) as opened:
            assert np.array_equal(opened.read_frames([1, 3]).values, sequential(path)[[1, 3]])


def test_audio_and_points(tmp_path):
    wav = write_wav(tmp_path / "s.wav", tone(0.5, 8_000)[None], 8_000)
    with open_source(wav, "audio") as source:
        assert source.read_waveform(4_000, start_seconds=0.1, end_seconds=0.3).duration_seconds == pytest.approx(
            0.2, abs=0.01
        )
    with open_source(Waveform(tone(0.5, 8_000), 8_000), "audio") as source:
        assert len(source.read_waveform(8_000).samples) == 4_000
    with open_source(PointCloud(np.zeros((2, 3), np.float32)), "point_cloud") as source:
        assert len(source.read_points()) == 2
        with pytest.raises(ModalityError, match="has points and cannot be read as frames"):
            source.timeline()


def test_features_stand_for_any_modality():
    features = PrecomputedFeatures(np.zeros((2, 3, 4), np.float32), np.zeros((2, 2)))
    with open_source(features, "video") as source:
        assert source.carrier == "features"
        assert source.read_features() is features


def test_what_does_not_fit_is_refused(tmp_path):
    wav = write_wav(tmp_path / "s.wav", tone(0.1, 8_000)[None], 8_000)
    Image.fromarray(PICTURE).save(tmp_path / "x.png")
    cloud = PointCloud(np.zeros((2, 3), np.float32))
    for source, modality in [
        (tmp_path / "x.png", "audio"),
        (tmp_path / "x.png", "point_cloud"),
        (wav, "depth"),
        (wav, "point_cloud"),
        (cloud, "video"),
        (Waveform(tone(0.1, 8_000), 8_000), "point_cloud"),
        (Frames.from_array(pattern(2), fps=1), "audio"),
        (Frames.from_array(pattern(2), fps=1), "image"),
    ]:
        with pytest.raises(MediaTypeError):
            open_source(source, modality)


def test_unknown_modality_lists_near_matches():
    with pytest.raises(UnknownNameError, match=r"did you mean 'depth'"):
        open_source("x", "deth")


def test_frames_in_memory_are_checked():
    with pytest.raises(MediaDecodeError, match="are empty"):
        open_source(Frames.from_array(np.zeros((0, 4, 4, 3), np.uint8), fps=1), "video")
    with open_source(Frames.from_array(pattern(4), fps=2), "video") as source:
        assert source.timeline()[1] == 2.0
        assert source.read_frames([3, 1, 1]).indices.tolist() == [3, 1, 1]
        with pytest.raises(ShapeError, match=r"0\.\.3, but index 4"):
            source.read_frames([4])
