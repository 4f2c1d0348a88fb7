"""Folders of frames: numbers with gaps, several sequences in one, float maps, and where a frame rate comes from."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.unit.media.field_files import FIELD, numbers_of
from tests.unit.media.media_files import pattern
from vidweave.errors import MediaTypeError, ModalityError
from vidweave.media import content_hash
from vidweave.media.open import open_clip, open_source
from vidweave.types import Clip


def folder_of(path, names):
    """A folder of gray frames whose brightness is their place in `names`."""
    path.mkdir(exist_ok=True)
    for place, name in enumerate(names):
        Image.fromarray(np.full((5, 7), place, np.uint8)).save(path / name)
    return path


def test_frame_numbers_with_gaps_keep_their_time():
    with open_source(FIELD / "folder_gaps", "video", fps=10) as source:
        times, duration = source.timeline()
        assert np.allclose(times, [0.0, 0.1, 0.2, 0.5, 0.6, 0.9])
        assert duration == pytest.approx(1.0)
        assert "4 frame numbers are missing; the other frames keep their time" in source.notes[0]


@pytest.mark.parametrize(
    ("numbers", "times"),
    [
        ([1, 2, 3, 4], [0, 1, 2, 3]),
        ([0, 5, 10, 15], [0, 1, 2, 3]),  # every fifth frame was kept: the rate is that of those that are there
        ([10, 20, 40, 50], [0, 1, 3, 4]),
        ([7, 8, 10], [0, 1, 3]),
        ([3, 9], [0, 1]),
        ([1_305_031_102_175, 1_305_031_102_208, 1_305_031_102_300], [0, 1, 2]),  # clock times are no frame numbers
    ],
)
def test_times_follow_the_numbers(tmp_path, numbers, times):
    folder = folder_of(tmp_path / "f", [f"frame_{number}.png" for number in numbers])
    with open_source(folder, "video", fps=2) as source:
        assert np.allclose(source.timeline()[0], np.array(times) / 2)
        has_gaps = times != list(range(len(times)))
        assert bool(source.notes) == (has_gaps or numbers[0] > 10**9)
        assert source.read_frames([len(times) - 1]).values[0, 0, 0, 0] == len(times) - 1


def test_times_that_are_written_go_before_numbers(tmp_path):
    folder = folder_of(tmp_path / "f", ["1.png", "2.png", "9.png"])
    (folder / "frames.json").write_text(json.dumps({"pts_seconds": [0.0, 0.5, 0.75]}))
    with open_source(folder, "video") as source:
        assert source.timeline()[0].tolist() == [0.0, 0.5, 0.75]
        assert source.notes == []
    (folder / "frames.json").write_text(json.dumps({"fps": 4}))
    with open_source(folder, "video") as source:
        assert source.timeline()[0].tolist() == [0.0, 0.25, 2.0]


def test_names_with_several_numbers(tmp_path):
    names = [f"cam3_640x480_{number}.png" for number in (8, 9, 11)]
    with open_source(folder_of(tmp_path / "f", names), "video", fps=1) as source:
        assert source.timeline()[0].tolist() == [0.0, 1.0, 3.0]
    names = ["shot1_5.png", "shot2_1.png", "shot2_9.png"]  # two numbers differ: neither counts frames
    with open_source(folder_of(tmp_path / "g", names), "video", fps=1) as source:
        assert source.timeline()[0].tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    "names",
    [
        ["flow_x_00001.jpg", "flow_x_00002.jpg", "flow_y_00001.jpg", "flow_y_00002.jpg", "img_00001.jpg"],
        ["frame-000000.color.jpg", "frame-000000.depth.png", "frame-000001.color.jpg"],
        ["0.png", "0.jpg"],
        ["1.png", "01.png"],
    ],
)
def test_several_sequences_in_one_folder_are_refused(tmp_path, names):
    folder = folder_of(tmp_path / "f", names)
    with pytest.raises(MediaTypeError, match=r"several sequences: '.*' and '.*' have the same number; put each"):
        open_source(folder, "video", fps=1)


def test_flow_files_beside_frames(tmp_path):
    folder = folder_of(tmp_path / "f", ["frame_1.png", "frame_2.png", "frame_3.png"])
    for number in (1, 2):
        shutil.copy(FIELD / "x.flo", folder / f"frame_{number}.flo")
    with open_source(folder, "flow", fps=5) as flow, open_source(folder, "video", fps=5) as video:
        assert flow.read_frames([0, 1]).values.shape == (2, 48, 64, 2)
        assert video.read_frames([0, 1, 2]).values.shape == (3, 5, 7, 3)
    before = content_hash(folder)
    data = bytearray((folder / "frame_2.flo").read_bytes())
    data[-1] ^= 1
    (folder / "frame_2.flo").write_bytes(bytes(data))
    assert content_hash(folder) != before


def test_folders_of_mixed_kinds_are_refused(tmp_path):
    folder = folder_of(tmp_path / "f", ["1.png"])
    Image.fromarray(np.full((5, 7), 900, np.uint16)).save(folder / "2.png")
    Image.fromarray(np.full((5, 7, 3), 9, np.uint8)).save(folder / "1.png")
    with (
        open_source(folder, "depth", fps=1) as source,
        pytest.raises(MediaTypeError, match=r"holds float32, others uint8; save all of them in one type"),
    ):
        source.read_frames([0, 1])


# ---- files of several pages


@pytest.mark.parametrize("name", ["a.webp", "a.apng.png"])
def test_animations_are_videos_with_their_own_times(name):
    with open_source(FIELD / name, "video") as source:
        times, duration = source.timeline()
        assert np.allclose(np.diff(times), times[1])
        assert duration == pytest.approx(times[1] * 10)
        frames = source.read_frames([9, 0, 4, 4])
    assert numbers_of(frames.values) == [9, 0, 4, 4]
    with pytest.raises(MediaTypeError, match="holds 10 images, but one was expected; give it as a video"):
        open_source(FIELD / name, "image")


def test_times_of_an_animation_follow_its_durations(tmp_path):
    stills = [Image.fromarray(frame) for frame in pattern(4)]
    stills[0].save(
        tmp_path / "x.webp", save_all=True, append_images=stills[1:], duration=[40, 500, 0, 250], lossless=True
    )
    with open_source(tmp_path / "x.webp", "video") as source:
        times, duration = source.timeline()
        assert np.allclose(times, [0.0, 0.04, 0.54, 0.64])
        assert duration == pytest.approx(0.89)
        assert "frames without a duration are shown for 0.1 s" in source.notes[0]
        assert np.array_equal(source.read_frames([0, 1, 2, 3]).values, pattern(4))


@pytest.mark.parametrize("is_depth", [False, True])
def test_pages_of_a_tiff_are_frames_at_a_given_rate(tmp_path, is_depth):
    values = (np.arange(3)[:, None, None] * 1_000 + np.arange(35).reshape(5, 7)).astype(np.uint16)
    stills = [Image.fromarray(page if is_depth else frame) for page, frame in zip(values, pattern(3), strict=True)]
    stills[0].save(tmp_path / "x.tif", save_all=True, append_images=stills[1:])
    modality = "depth" if is_depth else "video"
    with open_source(tmp_path / "x.tif", modality, fps=4) as source:
        assert source.timeline()[0].tolist() == [0.0, 0.25, 0.5]
        frames = source.read_frames([2, 0])
    expected = (values[[2, 0], ..., None] / 1_000).astype(np.float32) if is_depth else pattern(3)[[2, 0]]
    assert np.allclose(frames.values, expected)
    (tmp_path / "x.tif.json").write_text(json.dumps({"fps": 2}))
    with open_source(tmp_path / "x.tif", modality) as source:
        assert source.timeline()[1] == 1.5


# ---- the frame rate of a clip


def test_a_clip_gives_the_frame_rate_of_its_folders_and_arrays(tmp_path):
    folder = folder_of(tmp_path / "f", ["1.png", "2.png"])
    np.save(tmp_path / "d.npy", np.ones((4, 5, 7), np.float32))
    clip = Clip(folder, depth=tmp_path / "d.npy", fps=5)
    for modality, seconds in (("video", 0.4), ("depth", 0.8)):
        with open_clip(clip, modality) as source:
            assert source.timeline()[1] == pytest.approx(seconds)
    assert "fps=5" in repr(clip)
    assert clip.settings == {"start_seconds": None, "end_seconds": None, "fps": 5}


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), "5", True])
def test_impossible_frame_rates(fps):
    with pytest.raises(ModalityError, match="fps must be a positive number"):
        Clip("a.mp4", fps=fps)
