"""Depth by transformers' estimators (tiny random ones), and normals from depth by geometry."""

import numpy as np
import pytest
import torch
from transformers import (
    BeitConfig,
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    ZoeDepthConfig,
    ZoeDepthForDepthEstimation,
)

from vidweave.derive.depth import DEPTH_MODELS, DepthEstimator, DepthJob
from vidweave.derive.normals import NORMAL_ESTIMATORS, NormalsJob, normals_from_depth
from vidweave.derive.work import work
from vidweave.errors import CheckpointError, ConfigError, ShapeError, UnknownNameError
from vidweave.media.open import open_source
from vidweave.media.write import write_array, write_video
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import sample_scene
from vidweave.types import Frames


def zoedepth():
    backbone = BeitConfig(
        image_size=64, patch_size=16, hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=20,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False, use_relative_position_bias=True,
    )  # fmt: skip
    return ZoeDepthForDepthEstimation(
        ZoeDepthConfig(
            backbone_config=backbone, neck_hidden_sizes=[4, 6, 8, 10], fusion_hidden_size=12, bottleneck_features=12,
            num_relative_features=8, bin_embedding_dim=6, num_attractors=[4, 2, 2, 1],
            bin_configurations=[{"n_bins": 5, "min_depth": 0.001, "max_depth": 10.0}],
        )
    )  # fmt: skip


def depth_anything(kind="metric"):
    backbone = Dinov2Config(
        image_size=56, patch_size=14, hidden_size=16, num_hidden_layers=4, num_attention_heads=2, mlp_ratio=2,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
    )  # fmt: skip
    return DepthAnythingForDepthEstimation(
        DepthAnythingConfig(
            backbone_config=backbone, reassemble_hidden_size=16, neck_hidden_sizes=[4, 6, 8, 10], fusion_hidden_size=12,
            head_hidden_size=6, depth_estimation_type=kind, max_depth=20 if kind == "metric" else 1,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    torch.manual_seed(3)
    made = tmp_path_factory.mktemp("models")
    models = {"zoedepth": zoedepth(), "metric": depth_anything(), "relative": depth_anything("relative")}
    for name, model in models.items():
        for weight in (p for p in model.parameters() if p.ndim > 1):  # large, so that frames make a difference
            torch.nn.init.normal_(weight, std=0.1)
        model.save_pretrained(made / name)
    return {name: str(made / name) for name in models}


@pytest.mark.parametrize("name", ["zoedepth", "metric", "relative"])
def test_an_estimator_gives_one_depth_per_pixel(folders, name):
    estimator = DepthEstimator(folders[name])
    frames = render(sample_scene(3), "video", frames=[0, 5, 9], size=50)
    wide = Frames(frames.values[:, :35], frames.pts_seconds, frames.indices)
    depth = estimator(wide)
    assert depth.shape == (3, 35, 50, 1)
    assert depth.dtype == np.float32
    assert np.isfinite(depth).all()
    assert estimator.unit == ("nearness" if name == "relative" else "metres")
    alone = estimator(Frames(wide.values[1:2], wide.pts_seconds[1:2], wide.indices[1:2]))
    np.testing.assert_allclose(alone[0], depth[1], rtol=1e-4, atol=1e-4)
    assert np.abs(depth[0] - depth[2]).max() > 0


def test_depth_of_a_clip_is_an_array_with_its_times(folders, tmp_path):
    scene = sample_scene(4)
    clip = write_video(tmp_path / "c.mp4", render(scene, "video"), fps=scene.fps, lossless=True)
    estimator = DepthEstimator(folders["zoedepth"])
    report = work(DepthJob(estimator=estimator, fps=4, chunk=3), {"c": clip}, tmp_path / "out")
    assert report.made == ["c"]
    with open_source(tmp_path / "out" / "c.npy", "depth") as source:
        times, _ = source.timeline()
        np.testing.assert_allclose(times, np.arange(8) / 4)
        whole = estimator(render(scene, "video", frames=range(0, 16, 2)))
        np.testing.assert_allclose(source.read_frames(range(8)).values, whole, rtol=1e-4, atol=1e-4)


def test_models_that_cannot_be_used(folders, tmp_path):
    assert {"zoedepth", "depth-anything", "depth-anything-indoor", "depth-anything-outdoor"} == set(DEPTH_MODELS)
    with pytest.raises(CheckpointError, match=r"no depth model at .*known names: depth-anything"):
        DepthEstimator(str(tmp_path / "none"))
    for name in DEPTH_MODELS:  # each stands for a hub id, which is asked for and, without a network, not there
        with pytest.raises(CheckpointError, match=rf"no depth model at '{DEPTH_MODELS.entry(name).target}'"):
            DepthEstimator(name)
    with pytest.raises(ConfigError, match="outputs nearness, but normals need meters"):
        NormalsJob(depth=DepthEstimator(folders["relative"]))
    with pytest.raises(ConfigError, match="fps and chunk must be positive"):
        DepthJob(estimator=DepthEstimator(folders["metric"]), chunk=0)


def plane(normal, distance=4.0, height=21, width=30, field_of_view=70.0):
    """Depth of the plane n · x = n_z · distance, x = (right, down, away)."""
    focal = width / 2 / np.tan(np.radians(field_of_view) / 2)
    right = (np.arange(width) + 0.5 - width / 2) / focal
    down = (np.arange(height) + 0.5 - height / 2) / focal
    return distance * normal[2] / (normal[0] * right + normal[1] * down[:, None] + normal[2])


@pytest.mark.parametrize("normal", [(0, 0, -1), (0.5, 0, -1), (0, -0.4, -1), (-0.3, 0.3, -1)])
def test_normals_of_a_plane_are_its_normal(normal):
    unit = np.array(normal, float) / np.linalg.norm(normal)
    result = normals_from_depth(plane(unit)[None, ..., None], field_of_view=70.0)
    expected = unit * [1, 1, -1]  # the third axis looks towards the eye
    np.testing.assert_allclose(result, np.broadcast_to(expected, result.shape), atol=1e-5)


def test_a_surface_does_not_bend_where_it_ends():
    depth = np.full((1, 12, 16), 9.0)
    depth[:, 3:9, 4:11] = 2.0
    np.testing.assert_allclose(normals_from_depth(depth), np.broadcast_to([0, 0, 1], (1, 12, 16, 3)), atol=1e-5)


def test_a_bulge_slopes_outwards():
    rows, columns = np.mgrid[-1:1:21j, -1:1:21j]
    result = normals_from_depth(5 - 0.3 * np.sqrt(2.5 - rows**2 - columns**2)[None])
    assert (result[0, :, 15, 0] > 0).all()
    assert (result[0, :, 5, 0] < 0).all()
    assert (result[0, 15, :, 1] > 0).all()
    assert (result[..., 2] > 0).all()


def test_depth_that_cannot_have_normals():
    for depth, message in [
        (np.zeros((1, 4, 4)), "positive and finite meters"),
        (np.full((1, 4, 4), np.nan), "positive and finite meters"),
        (np.ones((1, 1, 4)), "at least 2 x 2 pixels"),
        (np.ones((4, 4)), r"must be \(T, H, W\)"),
    ]:
        with pytest.raises(ShapeError, match=message):
            normals_from_depth(depth)
    with pytest.raises(ConfigError, match="between 0 and 180 degrees, got 180"):
        normals_from_depth(np.ones((1, 4, 4)), field_of_view=180)


def test_normals_of_files_of_videos_and_by_a_model_of_ones_own(folders, tmp_path):
    scene = sample_scene(4)
    depth = write_array(tmp_path / "d.npy", render(scene, "depth"))
    clip = write_video(tmp_path / "v.mp4", render(scene, "video"), fps=scene.fps, lossless=True)
    work(NormalsJob(fps=4), {"d": depth}, tmp_path / "a")
    made = np.load(tmp_path / "a" / "d.npy")
    np.testing.assert_allclose(
        made, normals_from_depth(render(scene, "depth", frames=range(0, 16, 2)).values), atol=1e-6
    )
    work(NormalsJob(depth=DepthEstimator(folders["metric"]), fps=2), {"v": clip}, tmp_path / "b")
    assert np.load(tmp_path / "b" / "v.npy").shape == (4, 48, 48, 3)
    report = work(NormalsJob(), {"v": clip}, tmp_path / "c")
    assert "give --depth-model to estimate depth from videos" in report.failed["v"]

    NORMAL_ESTIMATORS.register("flat", lambda frames: np.broadcast_to([0.0, 0.0, 1.0], frames.values.shape))
    try:
        work(NormalsJob(method="flat"), {"v": clip}, tmp_path / "d")
        assert (np.load(tmp_path / "d" / "v.npy")[..., 2] == 1).all()
    finally:
        NORMAL_ESTIMATORS.unregister("flat")
    with pytest.raises(UnknownNameError, match="unknown normal estimator 'flat'"):
        NormalsJob(method="flat")
