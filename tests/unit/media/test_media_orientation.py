"""Display matrices: every way to turn and mirror, by the definition of the matrix, for frames and for motion."""

import itertools

import numpy as np
import pytest

from tests.unit.media.field_files import FIELD
from tests.unit.media.media_files import encode
from vidweave.media.inspect import inspect_file
from vidweave.media.orientation import Orientation, orientation_of
from vidweave.media.vectors import _oriented
from vidweave.media.video import VideoReader

ONE, FIX = 1 << 16, 1 << 30
# (a, b, c, d) of x' = a x + c y, y' = b x + d y: four that keep the axes, four that swap them
MATRICES = [(a, 0, 0, d) for a, d in itertools.product((1, -1), repeat=2)]
MATRICES += [(0, b, c, 0) for b, c in itertools.product((1, -1), repeat=2)]


def shown(frame, matrix):
    """What the definition says: each pixel goes to its new place, and the whole is moved back to the origin."""
    a, b, c, d = matrix
    height, width = frame.shape[:2]
    y, x = np.mgrid[:height, :width]
    new_x, new_y = a * x + c * y, b * x + d * y
    new_x, new_y = new_x - new_x.min(), new_y - new_y.min()
    out = np.zeros((new_y.max() + 1, new_x.max() + 1, *frame.shape[2:]), frame.dtype)
    out[new_y, new_x] = frame
    return out


@pytest.mark.parametrize("matrix", MATRICES)
def test_frames_are_shown_as_the_matrix_says(matrix, tmp_path):
    a, b, c, d = matrix
    full = (a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, FIX)
    plain = encode(tmp_path / "plain.mp4", size=(64, 32), count=3)
    turned = encode(tmp_path / "turned.mp4", size=(64, 32), count=3, matrix=full)
    with VideoReader(plain) as reader:
        upright = reader.read([2]).values[0]
    expected = shown(upright, matrix)
    with VideoReader(turned) as reader:
        assert (reader.height, reader.width) == expected.shape[:2]
        assert reader.is_mirrored == (a * d - b * c < 0)
        assert np.array_equal(reader.read([2]).values[0], expected)
    facts = inspect_file(turned)["streams"][0]
    assert (facts["height"], facts["width"]) == expected.shape[:2]
    assert facts["is_mirrored"] == (a * d - b * c < 0)


@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("quarters", range(4))
def test_motion_is_oriented_like_what_moves(is_mirrored, quarters):
    """A dot that moves by (3, 1): in the oriented frames it moves as the oriented vector at its place says."""
    orientation = Orientation(is_mirrored=is_mirrored, quarters=quarters)
    before, after, vectors = np.zeros((7, 9)), np.zeros((7, 9)), np.zeros((2, 7, 9))
    before[2, 4], after[3, 7], vectors[:, 2, 4] = 1, 1, (3, 1)
    start = np.argwhere(orientation.apply(before))[0]
    stop = np.argwhere(orientation.apply(after))[0]
    right, down = _oriented(vectors, orientation)[:, start[0], start[1]]
    assert (down, right) == tuple(stop - start)


def test_a_mirrored_phone_video():
    """Corners as players show them: green and red on top, white and blue below."""
    with VideoReader(FIELD / "m_hflip.mp4") as reader:
        frame = reader.read([0]).values[0].astype(int)
    height, width = frame.shape[:2]
    corners = [frame[y, x] for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    expected = [(0, 255, 0), (255, 0, 0), (255, 255, 255), (0, 0, 255)]
    assert all(np.abs(got - want).max() < 60 for got, want in zip(corners, expected, strict=True)), corners


@pytest.mark.parametrize(("degrees", "quarters"), [(93, 1), (-88, 3), (44, 0), (181, 2)])
def test_odd_angles_are_rounded_to_quarters(degrees, quarters):
    class Frame:
        angle = np.deg2rad(degrees)
        a, b = np.cos(angle) * ONE, -np.sin(angle) * ONE
        side_data = {"DISPLAYMATRIX": np.array([a, b, 0, -b, a, 0, 0, 0, FIX]).astype(np.int32).tobytes()}  # noqa: RUF012

    assert orientation_of(Frame()) == Orientation(quarters=quarters)
