"""Flow on disk: arrays beside their times, and frames of it."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vidweave.cli.main import run
from vidweave.derive.flow import FlowJob
from vidweave.derive.work import work
from vidweave.encoders.motion import MotionEncoderConfig
from vidweave.errors import ConfigError, ShapeError
from vidweave.media.flow_colours import colour_wheel, flow_to_rgb
from vidweave.media.open import open_source
from vidweave.media.write import write_video
from vidweave.types import Frames, MotionSpec


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    frames = np.full((5, 40, 56, 3), 30, np.uint8)
    for i, frame in enumerate(frames):
        frame[8:28, 4 + 3 * i : 24 + 3 * i] = np.arange(20, dtype=np.uint8)[:, None] * 10 + 40
    return write_video(tmp_path_factory.mktemp("flow") / "clip.mp4", Frames.from_array(frames, fps=4), fps=4)


def raft(side=128):
    torch.manual_seed(0)
    spec = MotionSpec(source="pictures", fps=4, height=side, width=side)
    return MotionEncoderConfig(height=side, width=side, patch=side, iterations=1, specs={"video": spec}).build().eval()


def test_vectors_of_the_codec_with_frames(clip, tmp_path):
    job = FlowJob(estimator=None, name="motion vectors", fps=4, height=10, width=14, has_rgb=True)
    report = work(job, {"a/clip": clip}, tmp_path)
    assert report.made == ["a/clip"]
    with open_source(tmp_path / "a/clip.npy", "flow") as flow:
        assert flow.timeline()[0] == pytest.approx([0.0, 0.25, 0.5, 0.75])
        values = flow.read_frames([0, 1, 2, 3]).values
    assert values.shape == (4, 10, 14, 2)
    assert values[..., 0].sum() > 5 * abs(values[..., 1].sum())
    with open_source(tmp_path / "a/clip_rgb.mp4", "video") as frames:
        assert np.array_equal(frames.read_frames([0, 1, 2, 3]).values, flow_to_rgb(values))
    assert work(job, {"a/clip": clip}, tmp_path).kept == ["a/clip"]


def test_raft_in_chunks_is_raft_at_once(clip, tmp_path):
    for chunk in (1, 9):
        job = FlowJob(estimator=raft(), name="random", fps=4, height=128, width=128, chunk=chunk)
        work(job, {"clip": clip}, tmp_path / str(chunk))
    one, nine = (np.load(tmp_path / str(chunk) / "clip.npy") for chunk in (1, 9))
    assert one.shape == (4, 128, 128, 2)
    np.testing.assert_allclose(one, nine, atol=1e-3)


def test_one_frame_has_one_map_of_zeros(tmp_path):
    path = write_video(tmp_path / "one.mp4", Frames.from_array(np.zeros((1, 16, 16, 3), np.uint8), fps=1), fps=1)
    work(FlowJob(estimator=raft(), name="random", height=128, width=128), {"one": path}, tmp_path / "out")
    assert not np.load(tmp_path / "out/one.npy").any()


def test_the_command(clip, tmp_path, capsys):
    assert (
        run(["extract", "flow", str(clip), "--out", str(tmp_path / "v"), "--vectors", "--size", "14", "--fps", "4"])
        == 0
    )
    assert np.load(tmp_path / "v/clip.npy").shape == (4, 14, 14, 2)
    save_file({"x": torch.zeros(1)}, tmp_path / "no_raft.safetensors")
    for arguments, message in (
        ([], "give RAFT's weights with --weights, or use the codec's motion vectors"),
        (["--weights", str(tmp_path / "no_raft.safetensors")], "not in the key table: x"),
    ):
        assert run(["extract", "flow", str(clip), "--out", str(tmp_path / "w"), *arguments]) in (1, 2)
        assert message in capsys.readouterr().err


def test_colours():
    assert colour_wheel().shape == (55, 3)
    flow = np.zeros((1, 2, 2, 2), np.float32)
    flow[0, 0, 1] = (2.0, 0.0)
    rgb = flow_to_rgb(flow)
    assert rgb[0, 0, 0].tolist() == [255, 255, 255]
    assert rgb[0, 0, 1].tolist() != [255, 255, 255]
    assert not np.array_equal(flow_to_rgb(flow, largest=1.0)[0, 0, 1], rgb[0, 0, 1])
    with pytest.raises(ShapeError, match=r"flow must be floats \(T, H, W, 2\)"):
        flow_to_rgb(flow[0])
    with pytest.raises(ConfigError, match="must be positive"):
        FlowJob(estimator=None, name="x", fps=0)
