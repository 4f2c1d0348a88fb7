"""`vidweave extract`: one command per thing that is made, and what it says."""

import json

import numpy as np
import pytest

from vidweave.cli.main import run
from vidweave.toyworld.files import write_toyworld


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extract") / "world"
    write_toyworld(folder, 5, 2, modalities=("video", "depth"))
    return folder


def test_frames_and_annotations(world, tmp_path, capsys):
    annotations = tmp_path / "qa.json"
    annotations.write_text(json.dumps({"clip_0000": {"frame_length": 3}, "clip_0001": {}}))
    arguments = ["extract", "frames", str(world), "--fps", "4", "--out", str(tmp_path / "out"), "--workers", "2"]
    assert run([*arguments, "--annotations", str(annotations)]) == 0
    assert "2 made, 0 already there, 0 failed" in capsys.readouterr().out
    counts = json.loads((tmp_path / "out" / "qa.json").read_text())
    assert counts == {"clip_0000": {"frame_length": 8}, "clip_0001": {"frame_length": 8}}
    assert run([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 2
    assert run([*arguments[:4], "5", *arguments[5:]]) == 1
    assert "was filled with fps=4.0 (now 5.0)" in capsys.readouterr().err


def test_normals_of_the_depth_arrays_of_a_folder(world, tmp_path, capsys):
    assert run(["extract", "normals", str(world), "--out", str(tmp_path / "out")]) == 0
    assert np.load(tmp_path / "out" / "clip_0001_depth.npy").shape == (16, 48, 48, 3)


def test_a_cut_and_a_failure(world, tmp_path, capsys):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    clips = [str(world / "clip_0000.mp4"), str(broken)]
    assert run(["extract", "trim", *clips, "--end", "1", "--out", str(tmp_path / "out")]) == 1
    info = capsys.readouterr().out
    assert "1 made, 0 already there, 1 failed" in info
    assert "broken: " in info
    assert (tmp_path / "out" / "clip_0000.mp4").is_file()
    assert run(["extract", "trim", "--annotations", "x.json", "--out", str(tmp_path / "o")]) == 2
    assert "--annotations needs --videos" in capsys.readouterr().err


def test_features_of_points_by_the_shipped_encoder(world, tmp_path, capsys):
    scene = tmp_path / "scene0001_00"
    scene.mkdir()
    (scene / "color.mp4").write_bytes((world / "clip_0000.mp4").read_bytes())
    for ending in ("", ".json"):
        (scene / f"depth.npy{ending}").write_bytes((world / f"clip_0000_depth.npy{ending}").read_bytes())
    poses = [np.eye(4).tolist()] * 16
    (scene / "cameras.json").write_text(json.dumps({"intrinsics": [48, 48, 24, 24], "poses": poses}))
    arguments = ["extract", "pointfeatures", str(scene), "--views", "2", "--out", str(tmp_path / "out"), "--json"]
    assert run(arguments) == 0
    voxels = np.load(tmp_path / "out" / "voxelized_voxels_sam_nonzero_preprocess" / "scene0001_00.npy")
    assert len(voxels) > 50
    assert run(["extract", "pointfeatures", str(tmp_path), "--out", str(tmp_path / "o")]) == 2
    assert "missing: " in capsys.readouterr().err


def test_a_depth_model_that_is_not_there(world, tmp_path, capsys):
    arguments = ["extract", "depth", str(world), "--model", str(tmp_path / "none"), "--out", str(tmp_path / "o")]
    assert run(arguments) == 1
    assert "known names: depth-anything" in capsys.readouterr().err
