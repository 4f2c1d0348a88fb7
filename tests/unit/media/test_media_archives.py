"""`.npz` archives of one array, as Objaverse's point clouds come."""

import io
import zipfile

import numpy as np
import pytest

from vidweave.errors import MediaDecodeError, MediaLimitError, MediaTypeError
from vidweave.media import Limits, open_source, read_points


def archive(path, compression=zipfile.ZIP_DEFLATED, **arrays):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, values in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, values)
            file.writestr(f"{name}.npy", buffer.getvalue())
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_points_of_an_archive(tmp_path, save):
    points = np.random.default_rng(0).standard_normal((37, 3)).astype(np.float32)
    save(tmp_path / "a.npz", points)
    assert np.array_equal(read_points(tmp_path / "a.npz").coordinates, points)
    with open_source(tmp_path / "a.npz", "point_cloud") as opened:
        assert len(opened.read_points()) == 37


def test_archives_that_are_refused(tmp_path):
    values = np.zeros((50_000, 3), np.float32)
    with pytest.raises(MediaTypeError, match=r"holds 2 arrays \(a\.npy, b\.npy\), but one was expected"):
        read_points(archive(tmp_path / "two.npz", a=values, b=values))
    with pytest.raises(MediaLimitError, match="would take too many bytes"):  # 600 KB out of 1 KB
        read_points(archive(tmp_path / "bomb.npz", a=values), limits=Limits(max_decoded_bytes=100_000))
    whole = archive(tmp_path / "whole.npz", a=values).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaDecodeError, match=r"is a damaged \.npz archive"):
        read_points(tmp_path / "cut.npz")
    with pytest.raises(MediaTypeError, match="Python objects are never loaded"):
        read_points(archive(tmp_path / "objects.npz", a=np.array([{}], dtype=object)))
