"""Read a folder of image files or float maps as a video: in natural order, with times from the frame numbers."""

# Axes: N frames of the folder, M requested, H height, W width, K channels

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vidweave.errors import MediaTypeError
from vidweave.media.float_maps import MAP_SUFFIXES, read_map
from vidweave.media.frames import FOLDER_TIMING, Timing, read_timing
from vidweave.media.guards import GuardedFile, describe, guard_folder, reading
from vidweave.media.image import check_image_values, read_image_file
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.media.sniff import kind_of
from vidweave.media.video import check_indices
from vidweave.types import Frames

__all__ = ["FolderFrames", "list_image_files"]

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
_MAP_MODALITIES = ("depth", "flow", "normals")
_MAX_SPREAD = 20  # frame numbers per file: beyond it the numbers are not frame numbers but e.g. timestamps


class FolderFrames:
    """Image files of a folder, in natural order of their names (2 before 10). The frame rate is never guessed.

    Frame numbers with gaps keep their time: of 0, 1, 5 the last frame is five frames after the first. Flow and depth may
    also be `.flo` and `.pfm` files, which are preferred if the folder has any.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        fps: float | None = None,
        modality: str = "video",
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._folder, self._limits, self._label = guard_folder(folder, limits=limits), limits, describe(folder)
        self._modality, self._notes = modality, dict[str, None]()
        self.files = list_image_files(self._folder, self._label, limits, modality)
        numbers = _frame_numbers([file.name for file in self.files], self._label)
        timing = self._timing(fps, numbers)
        self.pts_seconds, self.duration_seconds = timing.pts_seconds, timing.duration_seconds

    def _timing(self, fps: float | None, numbers: np.ndarray | None) -> Timing:
        count, label = len(self.files), f"the folder {self._label}"
        timing = read_timing(self._folder / FOLDER_TIMING, count, fps=fps, label=label, limits=self._limits)
        gaps = np.diff(numbers) if numbers is not None else np.ones(1)
        if timing.fps is None or numbers is None or len(gaps) < 2 or (gaps == gaps[0]).all():
            return timing
        step = int(np.gcd.reduce(gaps))
        places = (numbers - numbers[0]) // step
        if places[-1] >= _MAX_SPREAD * count:
            self._notes[f"{label}: the numbers in the names are uneven; the frames are assumed to be evenly spaced"] = (
                None
            )
            return timing
        missing = int(places[-1]) + 1 - count
        self._notes[f"{label}: {missing} frame numbers are missing; the other frames keep their time"] = None
        return Timing(count, fps=None, pts_seconds=places / timing.fps, label=label, last_seconds=1 / timing.fps)

    @property
    def notes(self) -> list[str]:
        return list(self._notes)

    def read(self, indices: Sequence[int] | np.ndarray) -> Frames:
        asked = check_indices(indices, len(self.files), self._label)
        values: np.ndarray | None = None
        for slot, index in enumerate(asked.tolist()):
            image = self._image(index)
            if values is None:
                self._limits.check(
                    "max_decoded_bytes",
                    len(asked) * image.nbytes,
                    f"{self._label}: {len(asked)} frames take too many bytes",
                )
                values = np.zeros((len(asked), *image.shape), dtype=image.dtype)
            if image.dtype != values.dtype:
                raise MediaTypeError(
                    f"{describe(self.files[index])} holds {image.dtype}, others {values.dtype}; save all of them in one type"
                )
            if image.shape != values.shape[1:]:
                sizes = f"{image.shape[1]}x{image.shape[0]}, others {values.shape[2]}x{values.shape[1]}"
                raise MediaTypeError(
                    f"{describe(self.files[index])} is {sizes}; frames of one folder must have one size"
                )
            values[slot] = image
        assert values is not None
        return Frames(values, self.pts_seconds[asked], asked)

    def _image(self, index: int) -> np.ndarray:
        with GuardedFile(self.files[index], limits=self._limits) as file:
            if kind_of(file.head()) == "map":
                values, notes = read_map(file, limits=self._limits), ()
            else:
                values, notes = read_image_file(file, modality=self._modality, limits=self._limits)
            check_image_values(values[None], file.label)
        self._notes |= dict.fromkeys(note.replace(file.label, f"the folder {self._label}") for note in notes)
        return values

    def close(self) -> None:
        pass


def list_image_files(folder: Path, label: str, limits: Limits, modality: str | None = None) -> list[Path]:
    """List image files directly in `folder`, in natural order; other files are ignored, an empty result is an error.

    For depth, flow and normals, float maps (`.flo`, `.pfm`) are preferred if there are any. Without `modality`, files of
    both kinds are listed.
    """
    names: list[str] = []
    suffixes = PICTURE_SUFFIXES if modality and modality not in _MAP_MODALITIES else (*PICTURE_SUFFIXES, *MAP_SUFFIXES)
    with reading(folder), os.scandir(folder) as entries:
        for seen, entry in enumerate(entries, start=1):
            limits.check("max_files", seen, f"the folder {label} holds too many files")
            if entry.name.lower().endswith(suffixes) and not entry.name.startswith("."):
                names.append(entry.name)
    maps = [name for name in names if name.lower().endswith(MAP_SUFFIXES)]
    names = maps if maps and modality else names
    if not names:
        raise MediaTypeError(f"the folder {label} has no image files ({', '.join(suffixes)})")
    return [folder / name for name in sorted(names, key=_natural)]


def _natural(name: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"([0-9]+)", name) if part]


def _frame_numbers(names: list[str], label: str) -> np.ndarray | None:
    """Return (N,) frame numbers of names that differ in a single number; None if they differ in more.

    Raises:
        MediaTypeError: several files with the same number, such as `flow_x_1.jpg` and `img_1.jpg`.
    """
    numbers = [tuple(map(int, re.findall("[0-9]+", os.path.splitext(name)[0]))) for name in names]
    seen: dict[tuple[int, ...], str] = {}
    for name, key in zip(names, numbers, strict=True):
        if key and key in seen:
            raise MediaTypeError(
                f"the folder {label} has several sequences: {seen[key]!r} and {name!r} have the same number; "
                "put each sequence into its own folder"
            )
        seen[key] = name
    if len({len(key) for key in numbers}) != 1 or not numbers[0]:
        return None
    table = np.array(numbers, dtype=object)
    varying = [column for column in table.T if len(set(column)) > 1]
    if len(varying) != 1 or max(varying[0]) >= 2**62:
        return None
    return varying[0].astype(np.int64)
