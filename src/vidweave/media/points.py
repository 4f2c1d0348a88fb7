"""Read point clouds: `.npy` arrays and PLY files (ASCII and binary), with a small parser of our own."""

# Axes: P points, C further columns (colors, normals, …)

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace

import numpy as np

from vidweave.errors import MediaDecodeError, MediaError, MediaTypeError
from vidweave.media.arrays import ArrayFile, check_finite
from vidweave.media.guards import GuardedFile
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.media.sniff import HEAD_BYTES, kind_of, refuse_foreign
from vidweave.types import PointCloud

__all__ = ["read_points"]

_MAX_HEADER_BYTES = 65_536
_TYPES = {
    "char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "uint8": "u1",
    "short": "i2",
    "int16": "i2",
    "ushort": "u2",
    "uint16": "u2",
    "int": "i4",
    "int32": "i4",
    "uint": "u4",
    "uint32": "u4",
    "float": "f4",
    "float32": "f4",
    "double": "f8",
    "float64": "f8",
}
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">"}
_COLORS = ("red", "green", "blue")
_COLOR_PREFIXES = ("", "diffuse_", "vertex_")  # MeshLab and others write diffuse_red
_FULL = {"u1": 255.0, "u2": 65_535.0}  # value of 1.0 in colors of these types
_MOST_COLUMNS = 9  # besides coordinates; wider features are not colors
_LARGEST_STEP = 2.0**-16  # maximum rounding of coordinates in float32, relative to the cloud's extent


def read_points(source: str | os.PathLike[str] | bytes | PointCloud, *, limits: Limits = DEFAULT_LIMITS) -> PointCloud:
    """Read a point cloud: `.npy` (P, 3 + C), or the vertices of a PLY file with their colors.

    Colors of 8 and 16 bits are scaled to 0..1, also if stored as floats (the first three features). Coordinates far from
    zero, such as UTM, are moved to it, since float32 would round them. Other vertex properties and all faces are dropped.
    Integer arrays are refused. The cloud's notes report conversions and dropped data.

    Raises:
        MediaTypeError: not a point cloud. MediaDecodeError: truncated, empty, or NaN or infinity in it.
        MediaLimitError: above `Limits.max_points`.
    """
    if isinstance(source, PointCloud):
        features, notes = _unit_colors(source.features, "the given points", is_own=True)
        given = replace(source, features=features, notes=(*source.notes, *notes))
        return _checked(given, "the given points", limits)
    with GuardedFile(source, limits=limits) as file:
        kind = kind_of(file.head())
        if kind == "points":
            return _checked(_read_ply(file, limits), file.label, limits)
        if kind != "array":
            refuse_foreign(file.head(HEAD_BYTES), file.label)
            raise MediaTypeError(
                f"{file.label} is not a point cloud; give a PLY file or an .npy array (P, 3) or (P, 6)"
            )
    with ArrayFile(source, limits=limits) as array:
        if len(array.shape) != 2 or array.shape[1] < 3 or array.dtype.kind != "f":
            raise MediaTypeError(
                f"{array.label} holds {array.dtype} of shape {array.shape}; a point cloud must be floats (P, 3) or (P, 3 + C)"
            )
        rows, width = array.shape
        if 3 <= rows <= _MOST_COLUMNS and width > max(16, rows):
            raise MediaTypeError(
                f"{array.label} has shape {array.shape}, which looks like coordinates in rows; save its transpose (P, 3 + C)"
            )
        limits.check("max_points", rows, f"{array.label} has too many points")
        columns = array.read_all()
    features = columns[:, 3:].astype(np.float32) if width > 3 else None
    return _checked(_cloud(columns[:, :3], features, array.label), array.label, limits)


def _cloud(coordinates: np.ndarray, features: np.ndarray | None, label: str, *notes: str) -> PointCloud:
    """Build a cloud in float32: coordinates near zero, colors in 0..1."""
    near, moved = _near_zero(coordinates, label)
    features, scaled = _unit_colors(features, label)
    return PointCloud(near, features, (*notes, *moved, *scaled))


def _near_zero(coordinates: np.ndarray, label: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Convert coordinates to float32, moved by whole meters if float32 would round them visibly, with a note."""
    with np.errstate(over="ignore"):
        plain = coordinates.astype(np.float32)
    if not len(plain) or not np.isfinite(plain).all():
        return plain, ()
    low, high = coordinates.min(axis=0).astype(np.float64), coordinates.max(axis=0).astype(np.float64)
    step = float(np.spacing(np.abs(plain).max()))
    if step <= _LARGEST_STEP * float((high - low).max()) or not (high > low).any():
        return plain, ()
    if coordinates.dtype.itemsize <= 4:
        return plain, (f"{label}: float32 rounds coordinates to {step:g} so far from zero; save them in float64",)
    origin = np.floor((low + high) / 2)
    where = ", ".join(f"{value:.0f}" for value in origin)
    return (coordinates - origin).astype(np.float32), (
        f"{label}: coordinates were moved by -({where}) to keep precision",
    )


def _unit_colors(
    features: np.ndarray | None, label: str, *, is_own: bool = False
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Scale the first three features to 0..1 if they are 8-bit or 16-bit colors, with a note.

    `is_own`: features of a carrier, which may be anything; only bytes and 16-bit integers are treated as colors.
    """
    if features is None or not 3 <= features.shape[1] <= _MOST_COLUMNS or not len(features):
        return features, ()
    colors = np.asarray(features[:, :3], dtype=np.float64)
    top = colors.max()
    if not np.isfinite(top) or top <= 1.0:
        return features, ()
    full = 255.0 if top <= 255 else 65_535.0
    is_unclear = is_own and features.dtype.kind != "u"
    if is_unclear or (colors < 0).any() or (colors % 1).any() or top > full:
        return features, (f"{label}: features 0..2 reach {top:g}; colors should be in 0..1",)
    rest = np.asarray(features[:, 3:], dtype=np.float32)
    scaled = np.concatenate([(colors / full).astype(np.float32), rest], axis=1)
    return scaled, (f"{label}: colors 0..{full:.0f} were scaled to 0..1",)


def _checked(cloud: PointCloud, label: str, limits: Limits) -> PointCloud:
    if not len(cloud):
        raise MediaDecodeError(f"{label} has no points")
    limits.check("max_points", len(cloud), f"{label} has too many points")
    for values in (cloud.coordinates, cloud.features):
        if values is not None:
            check_finite(values, label, "point")
    return cloud


@dataclass(frozen=True)
class _Header:
    order: str  # "ascii", "<" or ">"
    count: int
    properties: tuple[tuple[str, str], ...]  # (name, numpy type) of a vertex


def _read_ply(file: GuardedFile, limits: Limits) -> PointCloud:
    header, start = _read_header(file)
    limits.check("max_points", header.count, f"{file.label} has too many points")
    names = [name for name, _ in header.properties]
    axes = [name for axis in "xyz" for name in names if name.lower() == axis]
    if [name.lower() for name in axes] != ["x", "y", "z"]:
        raise MediaTypeError(f"{file.label} has vertices without x, y and z (it has {', '.join(names) or 'none'})")
    file.seek(start)
    body = file.read()
    file.check_unchanged()
    columns = _ascii_columns if header.order == "ascii" else _binary_columns
    table = columns(header, body, file.label)
    xyz = np.stack([table[name] for name in axes], axis=1)  # in their own type: UTM needs float64
    colors = _color_names(names)
    left = [name for name in names if name not in (*axes, *colors)]
    notes = [f"{file.label}: the vertex properties {', '.join(left)} were dropped"] if left else []
    if not colors:
        return _cloud(xyz, None, file.label, *notes)
    values = np.stack([table[name].astype(np.float64) for name in colors], axis=1)
    kinds = {kind for name, kind in header.properties if name in colors}
    full = _FULL.get(kinds.pop()) if len(kinds) == 1 else None
    if (
        full and not 1 < values.max(initial=0.0) <= 255 < full
    ):  # 8-bit values in 16 bits are recognized by their maximum
        values = values / full
    return _cloud(xyz, values.astype(np.float32), file.label, *notes)


def _color_names(names: list[str]) -> list[str]:
    """Return the properties with red, green and blue, or none."""
    by_lower = {name.lower(): name for name in names}
    for prefix in _COLOR_PREFIXES:
        if all(f"{prefix}{color}" in by_lower for color in _COLORS):
            return [by_lower[f"{prefix}{color}"] for color in _COLORS]
    return [by_lower[letter] for letter in "rgb"] if all(letter in by_lower for letter in "rgb") else []


def _read_header(file: GuardedFile) -> tuple[_Header, int]:
    head = file.head(_MAX_HEADER_BYTES)
    newline = next(mark for mark in (b"\r\n", b"\n", b"\r") if head.startswith(b"ply" + mark))
    end = re.search(newline + rb"end_header[ \t]*" + newline, head)  # a separate line, not a word in a comment
    if end is None:
        raise MediaDecodeError(f"{file.label} is a PLY file without the end of its header; it is truncated")
    lines = head[: end.start()].decode("ascii", "replace").splitlines()
    try:
        return _parse_header([line.split() for line in lines[1:] if line.strip()], file.label), end.end()
    except MediaError:
        raise
    except (ValueError, IndexError, KeyError):
        raise MediaDecodeError(f"{file.label} is a PLY file with a broken header") from None


def _parse_header(lines: list[list[str]], label: str) -> _Header:
    order, count, properties, elements = "", 0, [], []
    for words in lines:
        if words[0] == "format":
            order = "ascii" if words[1] == "ascii" else _ORDERS[words[1]]
        elif words[0] == "element":
            elements.append(words[1])
            count = int(words[2]) if words[1] == "vertex" else count
        elif words[0] == "property" and elements[-1:] == ["vertex"]:
            if words[1] == "list":
                raise MediaTypeError(f"{label} has lists in its vertices, which are not supported; save plain vertices")
            properties.append((words[2], _TYPES[words[1]]))
    if elements[:1] != ["vertex"]:
        raise MediaTypeError(f"{label} does not begin with vertices (it has {', '.join(elements) or 'none'})")
    if count < 0 or not order or len(dict(properties)) != len(properties):
        raise ValueError("broken header")
    return _Header(order, count, tuple(properties))


def _binary_columns(header: _Header, body: bytes, label: str) -> np.ndarray:
    row = np.dtype([(name, header.order + kind) for name, kind in header.properties])
    if len(body) < row.itemsize * header.count:
        raise _short(label, header.count, len(body) // row.itemsize)
    return np.frombuffer(body, dtype=row, count=header.count)


def _ascii_columns(header: _Header, body: bytes, label: str) -> dict[str, np.ndarray]:
    width = len(header.properties)
    words = body.split(maxsplit=header.count * width)[: header.count * width]
    if len(words) < header.count * width:
        raise _short(label, header.count, len(words) // width)
    try:
        numbers = np.array(words, dtype=np.bytes_).astype(np.float64).reshape(header.count, width)
    except ValueError:
        raise MediaDecodeError(f"{label} has vertices that are not numbers") from None
    return {name: numbers[:, i] for i, (name, _) in enumerate(header.properties)}


def _short(label: str, expected: int, count: int) -> MediaDecodeError:
    return MediaDecodeError(f"{label} is truncated: its header says {expected} points, but there are {count}")
