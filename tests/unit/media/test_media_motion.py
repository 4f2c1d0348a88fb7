"""Motion on one clock: what moved, how far, and when, whatever the source, the codec and the rate of the frames."""

import av
import numpy as np
import pytest

from tests.unit.media.media_files import encode
from vidweave.errors import ConfigError, MediaLimitError, MediaTypeError
from vidweave.media.frames import HeldFrames
from vidweave.media.limits import Limits
from vidweave.media.motion import motion_seconds, read_motion
from vidweave.media.vectors import codec_vectors
from vidweave.media.video import VideoReader
from vidweave.types import Frames, MotionSpec

HEIGHT, WIDTH, SIDE, FPS = 80, 112, 32, 10
SPEED = np.array([3, -2])  # pixels per frame, right and down
GRID = {"height": 5, "width": 7}  # cells of 16 x 16 pixels
VECTORS = MotionSpec(source="motion_vectors", fps=FPS, **GRID)


def square(count=16, still=(), speed=SPEED):
    """A textured square that moves over a still, textured ground; frames of `still` repeat the one before."""
    rng = np.random.default_rng(5)
    ground = rng.integers(20, 50, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    block = rng.integers(60, 250, (SIDE // 4, SIDE // 4, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    frames, at = np.repeat(ground[None], count, 0), np.array([16, 40])
    for i, frame in enumerate(frames):
        at = at + (speed if i and i not in still else 0)
        frame[at[1] : at[1] + SIDE, at[0] : at[0] + SIDE] = block
    return frames


FULL = MotionSpec(source="motion_vectors", fps=FPS, height=HEIGHT, width=WIDTH)


def at_centre(maps):
    """(T, 2) of full-size maps of `square()`: how far its middle moves in each step."""
    places = np.array([16, 40]) + SIDE // 2 + np.arange(len(maps.values))[:, None] * SPEED
    return maps.values[np.arange(len(places)), :, places[:, 1], places[:, 0]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("motion")


def written(folder, name, codec="libx264", pictures=None, **arguments):
    arguments = {"options": {"preset": "medium", "refs": "1"} if codec == "libx264" else {}, "gop": 250, **arguments}
    size = (WIDTH, HEIGHT)
    return encode(folder / name, codec, size=size, pictures=square() if pictures is None else pictures, **arguments)


@pytest.mark.parametrize(
    ("name", "codec", "arguments"),
    [
        ("p.mp4", "libx264", {"b_frames": 0}),
        ("b.mp4", "libx264", {"b_frames": 2}),
        ("p.mkv", "mpeg4", {}),
        ("b.avi", "mpeg4", {"b_frames": 2}),
        ("p.mpg", "mpeg2video", {"fps": 25}),
        ("no_times.avi", "libx264", {"b_frames": 2}),
    ],
)
def test_vectors_of_the_codec_report_how_far_something_moved(name, codec, arguments, folder):
    path = written(folder, f"far_{name}", codec, **arguments)
    fps = arguments.get("fps", FPS)
    with VideoReader(path) as reader:
        maps = read_motion(reader, MotionSpec(source="motion_vectors", fps=fps, height=HEIGHT, width=WIDTH))
    assert maps.values.shape == (15, 2, HEIGHT, WIDTH)
    assert maps.values.dtype == np.float32
    first = reader.pts_seconds[0]  # AVI shifts all times by its reordering
    assert np.allclose(maps.seconds[:, 0], first + np.arange(15) / fps, atol=1e-3)
    assert np.allclose(maps.seconds[:, 1] - maps.seconds[:, 0], 1 / fps)
    assert np.allclose(np.median(at_centre(maps), 0), SPEED, atol=0.6), at_centre(maps)
    assert maps.notes == []


def test_where_something_moved_and_where_nothing_did(folder):
    with VideoReader(written(folder, "where.mp4", b_frames=0)) as reader:
        maps = read_motion(reader, MotionSpec(source="motion_vectors", fps=FPS, height=HEIGHT, width=WIDTH))
    moved = np.abs(maps.values[4]).sum(0)
    x, y = 16 + 4 * 3, 40 - 4 * 2
    assert moved[y + 8 : y + 24, x + 8 : x + 24].mean() > 2
    assert moved[:16].max() == moved[:, 80:].max() == 0


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_motion_turns_with_the_frame(degrees, folder):
    plain = written(folder, "plain.mp4", b_frames=0)
    turned = written(folder, f"turned_{degrees}.mp4", b_frames=0, rotation=degrees)
    with VideoReader(plain) as one, VideoReader(turned) as other:
        quarters = other.rotation // 90
        size = (WIDTH, HEIGHT) if quarters % 2 else (HEIGHT, WIDTH)
        maps = read_motion(other, MotionSpec(source="motion_vectors", fps=FPS, height=size[0] // 8, width=size[1] // 8))
        expected = read_motion(one, MotionSpec(source="motion_vectors", fps=FPS, height=10, width=14)).values
    right, down = expected[:, 0], expected[:, 1]
    for _ in range(quarters):
        right, down = (np.rot90(part, axes=(1, 2)) for part in (down, -right))
    assert quarters
    assert np.allclose(maps.values, np.stack([right, down], 1), atol=1e-5)


def test_a_span_is_that_part_of_the_whole(folder):
    with VideoReader(written(folder, "span.mp4", pictures=square(24, speed=np.array([2, -1])), gop=6)) as reader:
        whole = read_motion(reader, VECTORS)
        part = read_motion(reader, VECTORS, (0.8, 1.5))
        assert np.array_equal(part.seconds, motion_seconds(reader, VECTORS, (0.8, 1.5)))
    assert len(part.values) == 7
    assert np.allclose(part.seconds, whole.seconds[8:15])
    assert np.allclose(part.values, whole.values[8:15], atol=1e-5)


def test_a_variable_rate_moves_as_far(folder):
    times = [0.0, 0.1, 0.15, 0.4, 0.45, 0.5, 0.9, 1.0, 1.05, 1.1, 1.5, 1.55, 1.6, 1.65, 1.7, 1.9]
    path = written(folder, "variable.mkv", times=times, b_frames=0)
    with VideoReader(path) as reader:
        maps = read_motion(reader, VECTORS)
    assert len(maps.values) == 19
    with VideoReader(written(folder, "constant.mkv", b_frames=0)) as reader:
        expected = read_motion(reader, VECTORS).values.sum((0, 2, 3))
    assert np.allclose(maps.values.sum((0, 2, 3)), expected, rtol=0.15)  # the encoder chooses a few other vectors
    # the step from 0.15 to 0.4 s is shared out over the steps that it spans
    assert np.allclose(maps.values[2], maps.values[3], atol=1e-4)
    assert np.abs(maps.values[2]).sum() > 0


def test_frames_that_stand_still_do_not_move(folder):
    with VideoReader(written(folder, "pause.mp4", pictures=square(still=range(6, 11)), b_frames=0)) as reader:
        maps = read_motion(reader, VECTORS)
    energy = np.abs(maps.values).sum((1, 2, 3))
    assert energy[5:10].max() == 0
    assert energy[[0, 4, 10, 14]].min() > 0


@pytest.mark.parametrize(
    ("codec", "name", "arguments", "why"),
    [
        ("libx265", "h265.mkv", {"options": {"x265-params": "log-level=none"}}, "'hevc' has no motion vectors"),
        ("libvpx-vp9", "vp9.webm", {}, "'vp9' has no motion vectors"),
        ("mjpeg", "keys.avi", {"pixel_format": "yuvj420p"}, "has only keyframes here"),
    ],
)
def test_codecs_without_vectors_are_named_and_replaced(codec, name, arguments, why, folder):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no encoder {codec}")
    with VideoReader(written(folder, name, codec, **arguments)) as reader:
        maps = read_motion(reader, FULL)
        with pytest.raises(MediaTypeError, match=rf"{why}.*fallback='reencode'"):
            read_motion(reader, MotionSpec(source="motion_vectors", fps=FPS, fallback="error", **GRID))
    (note,) = maps.notes
    assert why in note
    assert "estimated by re-encoding 10 frames per second" in note
    assert np.allclose(np.median(at_centre(maps), 0), SPEED, atol=0.6)


def test_frames_in_memory_have_their_vectors_estimated():
    frames = Frames.from_array(square(), fps=FPS)
    maps = read_motion(HeldFrames(frames), FULL)
    assert np.allclose(np.median(at_centre(maps), 0), SPEED, atol=0.6)
    assert "not a video file" in maps.notes[0]
    with pytest.raises(MediaTypeError, match="not a video file"):
        read_motion(HeldFrames(frames), MotionSpec(source="motion_vectors", fps=FPS, fallback="error", **GRID))


@pytest.mark.parametrize("source", ["motion_vectors", "frame_differences", "pictures"])
def test_one_frame_has_one_map_without_motion(source, folder):
    spec = MotionSpec(source=source, fps=2, **GRID)
    with VideoReader(written(folder, f"one_{source}.mp4", pictures=square(1))) as reader:
        maps = read_motion(reader, spec)
    assert len(maps.values) == len(maps.seconds) == 1
    assert maps.notes == ["motion: the clip has one frame, so there is no motion"]
    if source == "pictures":
        assert np.array_equal(maps.values[0, 0], maps.values[0, 1])
        assert maps.values.any()
    else:
        assert not maps.values.any()


@pytest.mark.parametrize("source", ["motion_vectors", "frame_differences"])
def test_no_motion_at_all_is_reported(source, folder):
    with VideoReader(written(folder, f"still_{source}.mp4", pictures=square(9, still=range(9)))) as reader:
        maps = read_motion(reader, MotionSpec(source=source, fps=FPS, normalize="clip_max", **GRID))
    assert np.abs(maps.values).max() < (1e-6 if source == "motion_vectors" else 1.001)
    assert maps.values.shape == (8, 2, 5, 7)
    if source == "motion_vectors":
        assert "nothing moves" in maps.notes[-1]


def test_flow_at_its_own_rate_is_taken_as_it_is():
    flow = np.random.default_rng(2).normal(size=(6, 5, 7, 2)).astype(np.float32)
    source = HeldFrames(Frames.from_array(flow, fps=4))
    maps = read_motion(source, MotionSpec(source="flow", fps=4, **GRID))
    assert np.allclose(maps.values, flow.transpose(0, 3, 1, 2), atol=1e-6)
    halved = read_motion(source, MotionSpec(source="flow", fps=2, **GRID))
    assert np.allclose(halved.values, maps.values.reshape(3, 2, 2, 5, 7).sum(1), atol=1e-6)
    doubled = read_motion(source, MotionSpec(source="flow", fps=8, **GRID))
    assert np.allclose(doubled.values[::2], maps.values / 2, atol=1e-6)
    larger = read_motion(source, MotionSpec(source="flow", fps=4, height=10, width=21))
    assert np.allclose(larger.values[:, 0, ::2, ::3], 3 * maps.values[:, 0], atol=1e-5)
    assert np.allclose(larger.values[:, 1, ::2, ::3], 2 * maps.values[:, 1], atol=1e-5)


def test_what_is_no_flow_is_refused():
    source = HeldFrames(Frames.from_array(square(3), fps=FPS))
    with pytest.raises(MediaTypeError, match=r"not flow: expected floats \(N, H, W, 2\)"):
        read_motion(source, MotionSpec(source="flow", fps=FPS, **GRID))


def test_flow_is_no_frame():
    source = HeldFrames(Frames.from_array(np.zeros((3, 8, 8, 2), np.float32), fps=FPS))
    with pytest.raises(MediaTypeError, match=r"8-bit frames.*give flow as the modality flow"):
        read_motion(source, MotionSpec(source="frame_differences", fps=FPS, **GRID))


def test_frame_differences_report_what_came_and_what_went():
    frames = np.zeros((4, 5, 7, 3), np.uint8)
    frames[1, 2, 3] = 255  # comes
    frames[2, 2, 4] = 102  # the first one goes, a fainter one comes
    frames[3] = frames[2]
    spec = MotionSpec(source="frame_differences", fps=FPS, **GRID)
    came, went = read_motion(HeldFrames(Frames.from_array(frames, fps=FPS)), spec).values.transpose(1, 0, 2, 3)
    assert came[0, 2, 3] == pytest.approx(1.0)
    assert went[1, 2, 3] == pytest.approx(1.0)
    assert came[1, 2, 4] == pytest.approx(0.4)
    assert came.sum() == pytest.approx(1.4)
    assert went.sum() == pytest.approx(1.0)


def test_pairs_of_frames_are_one_step_apart():
    frames = square(12)
    maps = read_motion(
        HeldFrames(Frames.from_array(frames, fps=FPS)),
        MotionSpec(source="pictures", fps=FPS / 2, height=HEIGHT, width=WIDTH),
    )
    assert maps.values.dtype == np.uint8
    assert maps.values.shape == (6, 2, 3, HEIGHT, WIDTH)
    shown = frames[[0, 2, 4, 6, 8, 10, 11]].transpose(0, 3, 1, 2)
    assert np.array_equal(maps.values[:, 0], shown[:-1])
    assert np.array_equal(maps.values[:, 1], shown[1:])


@pytest.mark.parametrize("source", ["motion_vectors", "frame_differences", "pictures"])
def test_too_many_maps_are_thinned_and_reported(source):
    frames = HeldFrames(Frames.from_array(square(14), fps=FPS))
    whole = read_motion(frames, MotionSpec(source=source, fps=FPS, **GRID))
    thinned = read_motion(frames, MotionSpec(source=source, fps=FPS, max_maps=4, **GRID))
    kept = [1, 4, 8, 11]  # the middles of four equal parts of 13
    assert np.allclose(thinned.seconds, whole.seconds[kept])
    assert np.allclose(thinned.values, whole.values[kept])
    assert "motion: 4 of 13 maps are used, evenly spaced (MotionSpec.max_maps)" in thinned.notes


def test_normalisation_is_by_the_largest_magnitude():
    flow = np.zeros((3, 5, 7, 2), np.float32)
    flow[0, 1, 2], flow[2, 3, 3] = (3, 4), (0.5, 0)
    source = HeldFrames(Frames.from_array(flow, fps=1))
    maps = read_motion(source, MotionSpec(source="flow", fps=1, normalize="clip_max", **GRID))
    assert np.hypot(*maps.values[0, :, 1, 2]) == pytest.approx(1.0, abs=1e-5)
    assert maps.values[2, 0, 3, 3] == pytest.approx(0.1, abs=1e-5)


def test_a_damaged_file_gives_what_can_be_had(folder):
    path = written(folder, "damaged.ts", pictures=square(24, speed=np.array([2, -1])), gop=8)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 600] = bytes(600)
    path.write_bytes(data)
    with VideoReader(path) as reader:
        maps = read_motion(reader, VECTORS)
    assert len(maps.values) == 23
    assert np.isfinite(maps.values).all()
    assert maps.values.any()


def test_memory_and_time_are_capped(folder):
    path = written(folder, "caps.mp4")
    with VideoReader(path) as reader:
        with pytest.raises(MediaLimitError, match=r"15 motion maps of 7x5.*Limits.max_decoded_bytes"):
            read_motion(reader, VECTORS, None, Limits(max_decoded_bytes=4000))
        with pytest.raises(MediaLimitError, match=r"max_decode_seconds"):
            read_motion(reader, VECTORS, None, Limits(max_decode_seconds=0.0))


@pytest.mark.parametrize("wrong", [{"fps": 0.0}, {"fps": float("nan")}, {"height": 0}, {"max_maps": 0}])
def test_impossible_specs_are_refused(wrong):
    with pytest.raises(ConfigError, match="a motion spec needs positive fps, size and max_maps"):
        MotionSpec(**{"source": "motion_vectors", "fps": 2.0, "height": 5, "width": 7, **wrong})


def test_dense_frames_are_left_out_and_the_motion_stays(folder):
    frames = square(40, speed=np.array([1, 0]))
    with VideoReader(written(folder, "dense.mp4", pictures=frames, b_frames=3, fps=40)) as reader:
        every, few = (list(codec_vectors(reader, limits=Limits(), is_sparse=is_sparse)) for is_sparse in (False, True))
        maps = read_motion(reader, MotionSpec(source="motion_vectors", fps=4, **GRID))
    assert len(few) < 0.6 * len(every)
    whole, part = (sum(moved.grid.sum((1, 2)) for moved in moves) for moves in (every, few))
    assert part == pytest.approx(whole, rel=0.25, abs=0.2)
    assert np.allclose(maps.values.sum((0, 2, 3))[1], 0, atol=0.2)
    assert maps.values.sum((0, 2, 3))[0] > 1
