"""Reading point clouds: `.npy` arrays and PLY files (ASCII and binary), by our own small parser."""

# Axes: P points, C further columns (colours, normals, …)

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from vidweave.errors import MediaDecodeError, MediaError, MediaTypeError
from vidweave.media.arrays import ArrayFile, check_finite
from vidweave.media.guards import GuardedFile
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.media.sniff import kind_of
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
_COLOURS = ("red", "green", "blue")


def read_points(source: str | os.PathLike[str] | bytes | PointCloud, *, limits: Limits = DEFAULT_LIMITS) -> PointCloud:
    """Read a point cloud: `.npy` (P, 3 + C), or the vertices of a PLY file with their colours.

    PLY colours in bytes become 0..1; other vertex properties and all faces are left out. Integer arrays are refused.

    Raises:
        MediaTypeError: not a point cloud. MediaDecodeError: truncated, empty, or NaN or infinity in it.
        MediaLimitError: above `Limits.max_points`.
    """
    if isinstance(source, PointCloud):
        return _checked(source, "the points given", limits)
    with GuardedFile(source, limits=limits) as file:
        kind = kind_of(file.head())
        if kind == "points":
            return _checked(_read_ply(file, limits), file.label, limits)
        if kind != "array":
            raise MediaTypeError(
                f"{file.label} is not a point cloud; give a PLY file or an .npy array (P, 3) or (P, 6)"
            )
    with ArrayFile(source, limits=limits) as array:
        if len(array.shape) != 2 or array.shape[1] < 3 or array.dtype.kind != "f":
            raise MediaTypeError(
                f"{array.label} holds {array.dtype} of shape {array.shape}; a point cloud is floats (P, 3) or (P, 3 + C)"
            )
        limits.check("max_points", array.shape[0], f"{array.label} has too many points")
        columns = array.read_all().astype(np.float32)
    return _checked(_split(columns), array.label, limits)


def _split(columns: np.ndarray) -> PointCloud:
    return PointCloud(columns[:, :3].copy(), columns[:, 3:].copy() if columns.shape[1] > 3 else None)


def _checked(cloud: PointCloud, label: str, limits: Limits) -> PointCloud:
    if not len(cloud):
        raise MediaDecodeError(f"{label} holds no point")
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
    if not {"x", "y", "z"} <= set(names):
        raise MediaTypeError(f"{file.label} has vertices without x, y and z (it has {', '.join(names) or 'none'})")
    file.seek(start)
    body = file.read()
    file.check_unchanged()
    columns = _ascii_columns if header.order == "ascii" else _binary_columns
    table = columns(header, body, file.label)
    xyz = np.stack([table[name] for name in "xyz"], axis=1).astype(np.float32)
    if not set(_COLOURS) <= set(names):
        return PointCloud(xyz)
    kinds = dict(header.properties)
    scales = [255.0 if kinds[name] == "u1" else 1.0 for name in _COLOURS]
    colours = np.stack([table[name] / scale for name, scale in zip(_COLOURS, scales, strict=True)], axis=1)
    return PointCloud(xyz, colours.astype(np.float32))


def _read_header(file: GuardedFile) -> tuple[_Header, int]:
    head = file.head(_MAX_HEADER_BYTES)
    end = head.find(b"end_header")
    line_end = head.find(b"\n", end)
    if end < 0 or line_end < 0:
        raise MediaDecodeError(f"{file.label} is a PLY file without the end of its header; it is truncated")
    lines = head[:end].decode("ascii", "replace").splitlines()
    try:
        return _parse_header([line.split() for line in lines[1:] if line.strip()], file.label), line_end + 1
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
                raise MediaTypeError(f"{label} has lists in its vertices, which are not read; save plain vertices")
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


def _short(label: str, wanted: int, found: int) -> MediaDecodeError:
    return MediaDecodeError(f"{label} is truncated: its header says {wanted} points, {found} are there")
