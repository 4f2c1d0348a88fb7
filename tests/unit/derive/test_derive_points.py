"""Features of points: where they land, what they average, and the layout of the files."""

import json

import numpy as np
import pytest
import torch

from vidweave.derive.points import FEATURES, VOXELS, Cameras, PointFeaturesJob, features_of_points, read_cameras
from vidweave.derive.work import work
from vidweave.errors import AnnotationError, ConfigError, ShapeError
from vidweave.media.write import write_array, write_video
from vidweave.types import Frames

INTRINSICS = (10.0, 10.0, 6.0, 4.0)  # of frames of 12 x 8


def eye(*offset):
    pose = np.eye(4)
    pose[:3, 3] = offset or (0, 0, 0)
    return pose


def test_a_wall_seen_from_two_places_is_one_wall():
    """Two cameras side by side look at a wall: a point gets the mean of what both say of it."""
    depth = np.full((2, 8, 12), 5.0)
    cameras = Cameras(INTRINSICS, np.stack([eye(), eye(0.5, 0, 0)]))  # the second frame is shifted by one pixel
    tokens = torch.arange(2 * 16 * 3, dtype=torch.float32).view(2, 16, 3)
    features, voxels = features_of_points(tokens, depth, cameras, grid=13)
    assert features.shape == (len(voxels), 3)
    assert len(np.unique(voxels, axis=0)) == len(voxels)
    assert (voxels[:, 2] == 0).all()
    # the rightmost column of voxels is seen by the second camera alone, the leftmost by the first
    right, left = features[voxels[:, 0] == voxels[:, 0].max()], features[voxels[:, 0] == 0]
    assert set(right[:, 0]) <= set(tokens[1, :, 0].tolist())
    assert set(left[:, 0]) <= set(tokens[0, :, 0].tolist())


def test_features_are_means_over_pixels():
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 3, (3, 8, 12))
    depth[1, 2, 3] = 0  # not measured
    cameras = Cameras(INTRINSICS, np.stack([eye(*rng.normal(size=3)) for _ in range(3)]))
    tokens = torch.from_numpy(rng.normal(size=(3, 5, 7)).astype(np.float32))  # CLS and 2 x 2 patches
    features, voxels = features_of_points(tokens, depth, cameras, grid=9)
    points, reply = [], []
    for t in range(3):
        for y in range(8):
            for x in range(12):
                if depth[t, y, x] > 0:
                    ray = np.array([(x + 0.5 - 6) / 10, (y + 0.5 - 4) / 10, 1]) * depth[t, y, x]
                    points.append(cameras.poses[t][:3, :3] @ ray + cameras.poses[t][:3, 3])
                    reply.append(tokens[t, 1 + (y // 4) * 2 + x // 6].numpy())
    points = np.array(points) - np.min(points, axis=0)
    place = np.minimum(points / points.max() * 9, 8).astype(int)
    assert {tuple(v) for v in place} == {tuple(v) for v in voxels}
    for voxel, feature in zip(voxels, features, strict=True):
        here = (place == voxel).all(axis=1)
        np.testing.assert_allclose(feature, np.mean(np.array(reply)[here], axis=0), atol=1e-5)


def test_the_order_of_views_changes_nothing():
    rng = np.random.default_rng(1)
    depth, tokens = rng.uniform(1, 2, (4, 8, 12)), torch.randn(4, 9, 5)
    poses = np.stack([eye(*rng.normal(size=3)) for _ in range(4)])
    one = features_of_points(tokens, depth, Cameras(INTRINSICS, poses), stride=2)
    turned = [2, 0, 3, 1]
    two = features_of_points(tokens[turned], depth[turned], Cameras(INTRINSICS, poses[turned]), stride=2)
    np.testing.assert_array_equal(one[1], two[1])
    np.testing.assert_allclose(one[0], two[0], atol=1e-5)


def write_scene(home, poses=6):
    home.mkdir(parents=True)
    rng = np.random.default_rng(2)
    frames = Frames.from_array(rng.integers(0, 255, (6, 8, 12, 3), dtype=np.uint8), fps=5)
    write_video(home / "color.mp4", frames, fps=5, lossless=True)
    write_array(home / "depth.npy", Frames.from_array(rng.uniform(1, 3, (6, 8, 12, 1)).astype(np.float32), fps=5))
    info = {"intrinsics": INTRINSICS, "poses": [eye(i).tolist() if i else eye().tolist() for i in range(poses)]}
    (home / "cameras.json").write_text(json.dumps(info))
    return home / "color.mp4"


def test_a_scene_becomes_the_files_of_3d_llm(tmp_path):
    asked = []

    def encode(frames):
        asked.append(frames.indices.tolist())
        return torch.ones(len(frames), 4, 11)

    job = PointFeaturesJob(encode=encode, encoder_name="ones", views=3, stride=1)
    report = work(job, {"scene0000_00": write_scene(tmp_path / "s")}, tmp_path / "out")
    assert report.made == ["scene0000_00"]
    assert asked == [[1, 3, 5]]
    features = torch.load(tmp_path / "out" / FEATURES / "scene0000_00.pt", weights_only=True)
    voxels = np.load(tmp_path / "out" / VOXELS / "scene0000_00.npy")
    assert features.shape == (len(voxels), 11)
    assert torch.equal(features, torch.ones_like(features))
    assert voxels.min() >= 0
    assert voxels.max() == 255
    failed = work(job, {"bad": write_scene(tmp_path / "bad", poses=5)}, tmp_path / "out").failed
    assert "has (6, 6, 5) frames, depth maps and poses" in failed["bad"]


def test_what_does_not_fit_is_named(tmp_path):
    cameras = Cameras(INTRINSICS, np.stack([eye()]))
    for tokens, depth, message in [
        (torch.ones(1, 7, 3), np.ones((1, 8, 12)), "7 tokens do not form a square grid"),
        (torch.ones(2, 4, 3), np.ones((1, 8, 12)), "must have the same number of views"),
        (torch.ones(1, 4, 3), np.zeros((1, 8, 12)), "the depth has no measured pixel"),
    ]:
        with pytest.raises(ShapeError, match=message):
            features_of_points(tokens, depth, cameras)
    path = tmp_path / "cameras.json"
    for content, message in [
        ("{", "contains no cameras"),
        ('{"intrinsics": [1, 1, 0], "poses": []}', "expected 4 intrinsics"),
        (json.dumps({"intrinsics": [0, 1, 0, 0], "poses": [eye().tolist()]}), "focal lengths positive"),
    ]:
        path.write_text(content)
        with pytest.raises(AnnotationError, match=message):
            read_cameras(path)
    with pytest.raises(ConfigError, match="views, grid and stride must be at least 1"):
        PointFeaturesJob(encode=lambda frames: torch.ones(1), encoder_name="x", stride=0)
