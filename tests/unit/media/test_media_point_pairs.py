"""3D-LLM's pairs of files: points whose features stay on the disk, and what is wrong with a pair."""

import numpy as np
import pytest
import torch

from vidweave.errors import MediaDecodeError, MediaTypeError
from vidweave.media.open import open_source
from vidweave.media.point_pairs import FEATURES, VOXELS, read_point_pair
from vidweave.media.preprocess import apply
from vidweave.types import PointSpec


@pytest.fixture
def write(tmp_path):
    def write(features=None, voxels=None):
        (tmp_path / FEATURES).mkdir(exist_ok=True)
        (tmp_path / VOXELS).mkdir(exist_ok=True)
        torch.save(torch.arange(24.0).reshape(4, 6) if features is None else features, tmp_path / FEATURES / "s.pt")
        if voxels is not False:
            given = np.arange(12).reshape(4, 3) if voxels is None else voxels
            np.save(tmp_path / VOXELS / "s.npy", given)
        return tmp_path

    return write


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_a_pair_is_a_cloud_of_points(write, dtype):
    cloud = read_point_pair(write(torch.arange(24.0).reshape(4, 6).to(dtype)), "s")
    with open_source(cloud, "point_cloud") as source:
        values, _ = apply(PointSpec(num_points=4, feature_width=6, normalize=False), source.read_points())
    assert values.shape == (1, 4, 9)
    torch.testing.assert_close(values[0, :, :3], torch.arange(12.0).reshape(4, 3))
    torch.testing.assert_close(values[0, :, 3:], torch.arange(24.0).reshape(4, 6))


def test_features_of_old_releases_of_torch_are_read(write, tmp_path):
    """They are no zip files, and cannot be mapped."""
    folder = write()
    old = {"_use_new_zipfile_serialization": False}
    torch.save(torch.arange(24.0).reshape(4, 6), folder / FEATURES / "s.pt", **old)
    np.testing.assert_array_equal(read_point_pair(folder, "s").features, np.arange(24.0).reshape(4, 6))


def test_a_scene_without_features_has_no_points(tmp_path):
    assert read_point_pair(tmp_path, "s") is None


class Code:
    def __reduce__(self):
        return print, ("never said",)


@pytest.mark.parametrize(
    ("features", "voxels", "error", "message"),
    [
        pytest.param(None, False, MediaDecodeError, "no matching voxels", id="no voxels"),
        pytest.param(
            None, np.zeros((3, 3), int), MediaDecodeError, "4 points have features and 3 have voxels", id="less"
        ),
        pytest.param(None, np.zeros((4, 2), int), MediaTypeError, r"voxels must be \(P, 3\)", id="flat"),
        pytest.param(None, np.full((4, 3), 0.5), MediaTypeError, "voxels must be integers", id="fractions"),
        pytest.param(torch.zeros(4), None, MediaTypeError, r"point features must be floats \(P, C\)", id="vector"),
        pytest.param({"a": 1}, None, MediaTypeError, "holds dict", id="dict"),
        pytest.param(Code(), None, MediaTypeError, "cannot be read as a plain tensor", id="code"),
    ],
)
def test_faults_of_a_pair(write, capsys, features, voxels, error, message):
    root = write(features, voxels)
    with pytest.raises(error, match=message):
        read_point_pair(root, "s")
    assert capsys.readouterr().out == ""
