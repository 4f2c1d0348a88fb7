"""Edit the edit list of an MP4 file, which selects the part of a track that is played."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vidweave.errors import MediaDecodeError

__all__ = ["MOVIE_TICKS", "limit_video"]

MOVIE_TICKS = 90_000  # per second: unit of edit lists in files written here


def limit_video(path: Path, seconds: float) -> None:
    """Limit playback to the first `seconds` of the video track of an MP4 file written with `MOVIE_TICKS`.

    Raises:
        MediaDecodeError: the video track has no edit list.
    """
    ticks = int(seconds * MOVIE_TICKS) - 1  # rounding up would show the frame after the end for an instant
    with path.open("r+b") as file:
        tracks = _boxes(file, 0, path.stat().st_size, b"moov/trak")
        video = [track for track in tracks if _handler(file, *track) == b"vide"]
        for at, _ in [box for track in video for box in _boxes(file, *track, b"edts/elst")]:
            version, count = _number(file, at, 1), _number(file, at + 4, 4)
            if version == 0 and count:
                file.seek(at + 8 + 12 * (count - 1))  # the last entry; earlier ones are empty time
                file.write(max(1, ticks).to_bytes(4, "big"))
                return
    raise MediaDecodeError(f"{path.name} has no edit list to hide the frames after its end")


def _handler(file: BinaryIO, start: int, stop: int) -> bytes:
    """Return the kind of a track: `vide`, `soun`, …"""
    box = next(_boxes(file, start, stop, b"mdia/hdlr"), None)
    return b"" if box is None else _number(file, box[0] + 8, 4).to_bytes(4, "big")


def _number(file: BinaryIO, place: int, size: int) -> int:
    file.seek(place)
    return int.from_bytes(file.read(size), "big")


def _boxes(file: BinaryIO, start: int, stop: int, names: bytes) -> Iterator[tuple[int, int]]:
    """Yield (first, past the last) byte of the content of every box at the path `names` inside start..stop."""
    name, _, below = names.partition(b"/")
    while start + 8 <= stop:
        size, kind, head = _number(file, start, 4), _number(file, start + 4, 4).to_bytes(4, "big"), 8
        if size == 1:
            size, head = _number(file, start + 8, 8), 16
        end = stop if size == 0 else start + size
        if end < start + head:
            return
        if kind == name and below:
            yield from _boxes(file, start + head, end, below)
        elif kind == name:
            yield start + head, end
        start = end
