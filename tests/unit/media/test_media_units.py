"""Units and layouts that files do not name: depth in millimeters, colors of 8 and 16 bits, far coordinates, channel order."""

import struct

import numpy as np
import pytest
from PIL import Image

from tests.unit.media.field_files import FIELD, number_of
from tests.unit.media.media_files import bytes_of, pattern
from vidweave.errors import MediaDecodeError, MediaError, MediaTypeError
from vidweave.media.image import read_image
from vidweave.media.open import open_source
from vidweave.media.points import read_points
from vidweave.types import Frames, PointCloud

MILLIMETRES = np.arange(23 * 37, dtype=np.uint16).reshape(23, 37) * 71 + 5


# ---- depth


def depth_of(source, **options):
    with open_source(source, "depth", **options) as opened:
        frames = opened.read_frames([0])
        return frames.values[0], opened.notes


def test_a_depth_image_of_a_sensor_is_in_metres():
    values, notes = depth_of(FIELD / "depth_mm.png")
    assert (values.shape, values.dtype) == ((48, 64, 1), np.float32)
    assert (values.min(), values.max(), len(np.unique(values))) == (0.5, 5.0, 64)
    assert "16-bit depth was read as millimeters" in notes[0]


@pytest.mark.parametrize("name", ["x.png", "x.tiff", "x.pgm"])
def test_16_bit_depth_of_every_format_is_in_metres_alone_and_in_a_folder(tmp_path, name):
    (tmp_path / "f").mkdir()
    path = tmp_path / "f" / name
    Image.fromarray(MILLIMETRES).save(path)
    for source in (path, path.read_bytes(), tmp_path / "f"):
        values, notes = depth_of(source)
        assert np.allclose(values[..., 0], MILLIMETRES / 1_000)
        assert len(notes) == 1
        assert "millimeters" in notes[0]


def test_16_bit_depth_in_arrays_is_in_metres(tmp_path):
    stack = np.stack([MILLIMETRES, MILLIMETRES + 1])[..., None]
    np.save(tmp_path / "x.npy", stack)
    for source in (tmp_path / "x.npy", Frames.from_array(stack, fps=2)):
        values, notes = depth_of(source, fps=2)
        assert np.allclose(values[..., 0], MILLIMETRES / 1_000)
        assert "millimeters" in notes[0]


def test_float_depth_keeps_its_metres(tmp_path):
    metres = (MILLIMETRES / 1_000).astype(np.float32)
    Image.fromarray(metres).save(tmp_path / "x.tiff")
    np.save(tmp_path / "x.npy", metres)
    header = f"Pf\n{metres.shape[1]} {metres.shape[0]}\n-1.0\n".encode()
    (tmp_path / "x.pfm").write_bytes(header + metres[::-1].astype("<f4").tobytes())
    (tmp_path / "b.pfm").write_bytes(header.replace(b"-1.0", b"1.0") + metres[::-1].astype(">f4").tobytes())
    for name in ("x.tiff", "x.npy", "x.pfm", "b.pfm"):
        values, notes = depth_of(tmp_path / name)
        assert np.array_equal(values[..., 0], metres)
        assert notes == []


def test_depth_without_a_known_range_is_refused(tmp_path):
    Image.fromarray(np.full((4, 5), -1, np.int32)).save(tmp_path / "negative.tiff")
    Image.fromarray(np.full((4, 5), np.nan, np.float32)).save(tmp_path / "nan.tiff")
    with pytest.raises(MediaTypeError, match="negative integers, but depth in millimeters must be positive"):
        open_source(tmp_path / "negative.tiff", "depth")
    with pytest.raises(MediaDecodeError, match="not finite"):
        open_source(tmp_path / "nan.tiff", "depth")


def test_16_bit_images_are_scaled_and_say_so(tmp_path):
    Image.fromarray(MILLIMETRES).save(tmp_path / "x.png")
    frames = read_image(tmp_path / "x.png")
    assert np.abs(frames.values[0, ..., 0] - MILLIMETRES / 257).max() <= 0.5
    assert "16-bit gray was scaled to 8 bits (851 values became" in frames.notes[0]


@pytest.mark.parametrize("values", [np.full((4, 5), 0.5, np.float32), np.full((4, 5), 70_000, np.int32)])
def test_images_of_unknown_range_are_refused(tmp_path, values):
    Image.fromarray(values).save(tmp_path / "x.tiff")
    with pytest.raises(MediaTypeError, match=r"whose range is unknown; give it as depth, or save it as"):
        read_image(tmp_path / "x.tiff")


@pytest.mark.parametrize(("mode", "alpha", "is_told"), [("RGBA", 128, True), ("LA", 0, True), ("RGBA", 255, False)])
def test_transparency_that_is_dropped_is_reported(tmp_path, mode, alpha, is_told):
    image = Image.fromarray(pattern(1)[0]).convert(mode)
    image.putalpha(alpha)
    image.save(tmp_path / "x.png")
    assert [("transparency was dropped" in note) for note in read_image(tmp_path / "x.png").notes] == [True] * is_told


def test_the_main_image_of_a_photograph_with_previews():
    frames = read_image(FIELD / "dji.jpg")
    assert frames.values.shape == (1, 128, 256, 3)
    assert number_of(frames.values[0]) == 5
    with open_source(FIELD / "dji.jpg", "video") as source:  # the same as a video of one frame
        assert np.array_equal(source.read_frames([0]).values, frames.values)


# ---- channel order


CHANNELS_FIRST = [
    ((5, 3, 23, 37), "video"),
    ((5, 2, 23, 37), "flow"),
    ((5, 1, 23, 37), "depth"),
    ((5, 3, 23, 37), "normals"),
    ((3, 23, 37), "video"),
    ((2, 23, 37), "flow"),
    ((3, 23, 37), "normals"),
    ((3, 23, 37), "image"),
]
IN_MEMORY = [(*case, False) for case in CHANNELS_FIRST if len(case[0]) == 4]  # Frames have four axes


@pytest.mark.parametrize(("shape", "modality", "is_file"), [*((*case, True) for case in CHANNELS_FIRST), *IN_MEMORY])
def test_channels_first_are_refused_with_the_remedy(tmp_path, shape, modality, is_file):
    values = np.zeros(shape, np.float32 if modality in ("flow", "depth", "normals") else np.uint8)
    np.save(tmp_path / "x.npy", values)
    source = tmp_path / "x.npy" if is_file else Frames(values, np.arange(5.0), np.arange(5))
    with pytest.raises(MediaTypeError, match=r"channels.*first.*numpy\.moveaxis\(array, (\d), -1\)") as caught:
        open_source(source, modality, fps=1)
    axis = int(str(caught.value).split("moveaxis(array, ")[1][0])
    np.save(tmp_path / "x.npy", np.moveaxis(values, axis, -1))  # the advice works
    with open_source(tmp_path / "x.npy", modality, fps=1) as opened:
        assert opened.read_frames([0]).values.shape == (1, 23, 37, shape[-3])


def test_gray_and_depth_of_three_frames_are_no_channels(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 23, 37), np.float32))
    with open_source(tmp_path / "x.npy", "depth", fps=1) as opened:
        assert len(opened.timeline()[0]) == 3


# ---- points


@pytest.mark.parametrize("transposed", [FIELD / "p3N.npy", np.zeros((6, 100), np.float32)])
def test_coordinates_in_rows_are_refused(tmp_path, transposed):
    if isinstance(transposed, np.ndarray):
        np.save(tmp_path / "x.npy", transposed)
        transposed = tmp_path / "x.npy"
    with pytest.raises(MediaTypeError, match=r"coordinates in rows; save its transpose"):
        read_points(transposed)


COLORS = np.array([[1.0, 0.0, 0.2], [0.0, 0.4, 0.0], [0.8, 1.0, 0.6]])
NAMES = ("red", "green", "blue")
POINTS = np.array([[0.5, -1.0, 2.0], [3.0, 4.0, 5.25], [-6.0, 7.0, -8.5]])
KINDS = {"uchar": ("B", 255), "ushort": ("H", 65_535), "float": ("f", 1), "int": ("i", 255), "double": ("d", 1)}


def ply(form, kind, *, names=NAMES, newline="\n", order="xyzrgb", comment="end_header is next", full=None):
    """A PLY file whose vertices have their properties in the given order."""
    _, own_full = KINDS[kind]
    values = np.round(COLORS * (full or own_full)) if own_full > 1 or full else COLORS
    columns = dict(zip("xyzrgb", [*POINTS.T, *values.T], strict=True))
    types = dict(zip("xyzrgb", ["float"] * 3 + [kind] * 3, strict=True))
    spelled = dict(zip("xyzrgb", ["x", "y", "z", *names], strict=True))
    lines = ["ply", f"format {form} 1.0", f"comment {comment}", "obj_info end_header", "element vertex 3"]
    lines += [f"property {types[key]} {spelled[key]}" for key in order]
    header = newline.join([*lines, "end_header", ""]).encode()
    rows = [
        [int(columns[key][i]) if KINDS[types[key]][0] in "BHi" else float(columns[key][i]) for key in order]
        for i in range(3)
    ]
    if form == "ascii":
        return header + newline.join(" ".join(map(str, row)) for row in rows).encode() + newline.encode()
    code = ("<" if "little" in form else ">") + "".join(KINDS[types[key]][0] for key in order)
    return header + b"".join(struct.pack(code, *row) for row in rows)


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"names": ("diffuse_red", "diffuse_green", "diffuse_blue"), "newline": "\r\n"},
        {"names": ("Red", "Green", "Blue"), "order": "bzrxgy", "newline": "\r"},
        {"names": ("r", "g", "b")},
    ],
)
def test_ply_colors_of_every_type_name_and_order_are_0_to_1(form, kind, options):
    cloud = read_points(ply(form, kind, **options))
    assert np.allclose(cloud.coordinates, POINTS)
    assert cloud.features is not None
    assert np.allclose(cloud.features, COLORS, atol=3e-3)
    assert cloud.features.dtype == np.float32


@pytest.mark.parametrize(("kind", "full"), [("float", 255), ("ushort", 255), ("double", 65_535)])
def test_ply_colors_in_a_wider_type_are_scaled_and_reported(kind, full):
    cloud = read_points(ply("ascii", kind, full=full))
    assert cloud.features is not None
    assert np.allclose(cloud.features, COLORS, atol=3e-3)
    assert f"colors 0..{full} were scaled to 0..1" in cloud.notes[0]


def test_properties_that_are_left_out_are_reported():
    data = ply("ascii", "uchar", names=("nx", "ny", "nz"))
    assert "the vertex properties nx, ny, nz were dropped" in read_points(data).notes[0]


@pytest.mark.parametrize("name", ["h.ply", "j.ply", "l.ply"])
def test_clouds_of_the_field(name):
    cloud = read_points(FIELD / name)
    assert np.array_equal(cloud.coordinates, [[0, 0, 0], [1, 2, 3], [4, 5, 6.5]])
    assert (cloud.features is None) == (name == "l.ply")
    if cloud.features is not None:
        assert np.allclose(cloud.features, [1.0, 0.5, 0.0], atol=0.002)


@pytest.mark.parametrize("width", [6, 7, 9])
@pytest.mark.parametrize("full", [1, 255, 65_535])
@pytest.mark.parametrize("save", [np.save, np.savez])
def test_array_colors_are_0_to_1(tmp_path, width, full, save):
    values = np.concatenate([POINTS, np.round(COLORS * full * 5) / 5, np.ones((3, width - 6))], axis=1)
    values[:, 3:6] = np.round(values[:, 3:6]) if full > 1 else values[:, 3:6]
    path = tmp_path / ("x.npz" if save is np.savez else "x.npy")
    save(path, values)
    cloud = read_points(path)
    assert cloud.features is not None
    assert np.allclose(cloud.features[:, :3], COLORS, atol=3e-3)
    assert np.array_equal(cloud.features[:, 3:], np.ones((3, width - 6)))
    assert bool(cloud.notes) == (full > 1)


def test_bytes_as_features_are_colors_and_other_features_stay(tmp_path):
    scaled = read_points(PointCloud(POINTS, (COLORS * 255).astype(np.uint8)))
    assert scaled.features is not None
    assert np.allclose(scaled.features, COLORS, atol=3e-3)
    wide = np.arange(30, dtype=np.float32).reshape(3, 10)
    assert read_points(PointCloud(POINTS, wide)).features is wide
    whole = np.arange(18, dtype=np.float32).reshape(3, 6)  # a carrier's features may be anything
    assert read_points(PointCloud(POINTS, whole)).features is whole
    normals = np.array([[0.0, -1.0, 0.5]] * 3, np.float32)
    assert read_points(PointCloud(POINTS, normals)).features is normals
    odd = read_points(PointCloud(POINTS, np.full((3, 3), 7.5)))
    assert "features 0..2 reach 7.5; colors should be in 0..1" in odd.notes[0]


def test_the_notes_of_a_cloud_reach_its_source():
    with open_source(FIELD / "p6_255.npy", "point_cloud") as source:
        assert source.read_points().features.max() == 1.0
        assert "colors 0..255 were scaled to 0..1" in source.notes[0]


UTM = np.array(
    [[447_256.25, 5_411_932.5, 310.125], [447_256.75, 5_411_932.625, 310.25], [447_257.0, 5_411_933.0, 311.0]]
)


@pytest.mark.parametrize("form", ["npy", "ascii", "binary_big_endian"])
def test_far_coordinates_keep_their_shape(tmp_path, form):
    path = tmp_path / f"x.{form}"
    if form == "npy":
        path.write_bytes(bytes_of(UTM))
    else:
        header = f"ply\nformat {form} 1.0\nelement vertex 3\n"
        header += "".join(f"property double {axis}\n" for axis in "xyz") + "end_header\n"
        text = "\n".join(" ".join(map(repr, row)) for row in UTM.tolist())
        path.write_bytes(header.encode() + (text.encode() if form == "ascii" else UTM.astype(">f8").tobytes()))
    cloud = read_points(path)
    assert np.allclose(cloud.coordinates - cloud.coordinates[0], UTM - UTM[0], atol=1e-6)
    assert "coordinates were moved by -(447256, 5411932, 310) to keep precision" in cloud.notes[0]


def test_lost_precision_is_reported_and_ordinary_rooms_stay_where_they_are(tmp_path):
    np.save(tmp_path / "x.npy", UTM.astype(np.float32))
    assert "float32 rounds coordinates to 0.5 so far from zero" in read_points(tmp_path / "x.npy").notes[0]
    np.save(tmp_path / "y.npy", POINTS + 100)
    room = read_points(tmp_path / "y.npy")
    assert np.allclose(room.coordinates, POINTS + 100)
    assert room.notes == ()


# ---- flow files


def test_flo_and_pfm_are_flow(tmp_path):
    with open_source(FIELD / "x.flo", "flow") as source:
        flow = source.read_frames([0]).values
    assert (flow.shape, flow.dtype) == ((1, 48, 64, 2), np.float32)
    assert np.array_equal(flow.ravel(), np.frombuffer((FIELD / "x.flo").read_bytes(), "<f4", offset=12))
    padded = np.concatenate([flow[0], np.zeros((48, 64, 1), np.float32)], axis=2)
    (tmp_path / "x.pfm").write_bytes(b"PF\n64 48\n-1\n" + padded[::-1].tobytes())
    with open_source(tmp_path / "x.pfm", "flow") as source:
        assert np.array_equal(source.read_frames([0]).values, flow)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], "truncated: 24,576 bytes are needed, but there are 24,575"),
        (lambda data: data[:4] + struct.pack("<ii", -1, 5) + data[12:], "claims a size of -1x5 pixels; it is corrupt"),
        (lambda data: data[:4] + struct.pack("<ii", 99_999, 99_999), r"raise Limits\.max_pixels"),
        (lambda data: data[:12] + struct.pack("<f", 1.666e9) + data[16:], "1 pixels with unknown flow"),
        (lambda data: data[:12] + struct.pack("<f", np.nan) + data[16:], "not finite"),
        (lambda data: b"PF\n64 forty", "no readable header"),
    ],
)
def test_maps_that_are_refused(change, message):
    with pytest.raises(MediaError, match=message):
        open_source(change((FIELD / "x.flo").read_bytes()), "flow")
