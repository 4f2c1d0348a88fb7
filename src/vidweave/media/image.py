"""Reading pictures: files by Pillow, arrays from `.npy`."""

from __future__ import annotations

import os
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vidweave.errors import MediaDecodeError, MediaError, MediaLimitError, MediaTypeError
from vidweave.media.arrays import ArrayFile, check_finite
from vidweave.media.guards import GuardedFile
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.media.sniff import HEAD_BYTES, kind_of, refuse_foreign
from vidweave.types import Frames

__all__ = [
    "check_picture_values",
    "decoding_image",
    "in_known_unit",
    "num_pages",
    "open_image",
    "picture_shape",
    "read_image",
    "read_picture",
    "to_values",
]

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
_OPENING = threading.Lock()  # warnings.catch_warnings changes the whole process


def read_image(
    source: str | os.PathLike[str] | bytes, *, modality: str = "image", limits: Limits = DEFAULT_LIMITS
) -> Frames:
    """Read one picture: JPEG, PNG, WebP, BMP, GIF, TIFF or PPM as RGB, or an `.npy` array (H, W) or (H, W, K).

    The orientation that a camera wrote down (EXIF) is applied, CMYK and palettes become RGB, transparency is dropped,
    16-bit gray is scaled to 8 bits. Depth keeps its values: 16-bit gray is read as millimetres, float gray as metres;
    both come as metres (1, H, W, 1) float32. Of a photograph with previews behind it (MPO) the main picture is read.
    Another file with several pictures is refused: give it as a video.

    Returns:
        Frames with one picture at 0 s: uint8 (1, H, W, 3), or the array's own values and channels; notes on what changed.

    Raises:
        MediaTypeError: not a picture. MediaDecodeError: truncated or corrupt. MediaLimitError: above `Limits.max_pixels`.
    """
    with GuardedFile(source, limits=limits) as file:
        if kind_of(file.head()) != "array":
            return _one(*read_picture(file, modality=modality, limits=limits))
    with ArrayFile(source, limits=limits) as array:
        shape = picture_shape(array.shape, array.label, modality)
        if shape[0] != 1:
            raise MediaTypeError(
                f"{array.label} holds {shape[0]} pictures, one was expected; give it as a video or depth"
            )
        values = array.read_all().reshape(shape)
    values, notes = in_known_unit(values, modality, array.label)
    return _one(values[0], notes)


def read_picture(
    file: GuardedFile, *, modality: str = "image", limits: Limits = DEFAULT_LIMITS
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Decode one open picture file to (H, W, 3) uint8 (depth: see `read_image`), and notes on what changed."""
    image = open_image(file, limits=limits)
    count = getattr(image, "n_frames", 1)
    if count > 1 and image.format != "MPO":
        raise MediaTypeError(f"{file.label} holds {count} pictures, one was expected; give it as a video")
    with decoding_image(file, limits):
        values, notes = to_values(image, modality, file.label)
    return values, notes


def num_pages(source: str | os.PathLike[str] | bytes, *, limits: Limits = DEFAULT_LIMITS) -> int:
    """Pictures in a picture file; previews behind a photograph (MPO) do not count."""
    with GuardedFile(source, limits=limits) as file:
        image = open_image(file, limits=limits)
        with decoding_image(file, limits):
            return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)


def open_image(file: GuardedFile, *, limits: Limits) -> Image.Image:
    """Open a picture file with Pillow: its header only, and nothing larger than the caps."""
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own cap follows
        try:
            image = Image.open(file, formats=_FORMATS)  # type: ignore[arg-type]
        except Image.DecompressionBombError:
            raise _too_large(file, limits) from None
        except UnidentifiedImageError:
            refuse_foreign(file.head(HEAD_BYTES), file.label)
            raise MediaTypeError(
                f"{file.label} is not a picture of a kind that is read ({', '.join(_FORMATS)})"
            ) from None
        except _BROKEN:
            file.check_unchanged()
            raise MediaDecodeError(f"{file.label} cannot be decoded as a picture; it is truncated or corrupt") from None
    limits.check("max_pixels", image.width * image.height, f"{file.label} has too many pixels")
    return image


@contextmanager
def decoding_image(file: GuardedFile, limits: Limits) -> Iterator[None]:
    """Turn Pillow's errors into ours; afterwards, check that the file did not change."""
    try:
        yield
    except MediaError:
        raise
    except Image.DecompressionBombError:
        raise _too_large(file, limits) from None
    except (*_BROKEN, MemoryError):
        file.check_unchanged()
        raise MediaDecodeError(f"{file.label} cannot be decoded as a picture; it is truncated or corrupt") from None
    file.check_unchanged()


def to_values(image: Image.Image, modality: str, label: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Decode the current page of an image: (H, W, 3) uint8 or, of depth, (H, W, 1) float32; and notes."""
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        return _depth(values, label) if modality == "depth" else _eight_bit(values, label)
    notes = (f"{label}: transparency was dropped",) if _is_transparent(image) else ()
    return np.array(image.convert("RGB")), notes


def _depth(values: np.ndarray, label: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Metres (H, W, 1) float32 of integers in millimetres, or of floats in metres."""
    if values.dtype.kind == "f":
        return values[..., None].astype(np.float32), ()
    if values.min() < 0:
        raise MediaTypeError(f"{label} holds negative integers; depth in millimetres is positive")
    return (values[..., None] / 1_000).astype(np.float32), (_IN_MILLIMETRES.format(label),)


_IN_MILLIMETRES = "{}: 16-bit depth was read as millimetres; if it has another unit, give metres as floats (.npy)"


def _eight_bit(values: np.ndarray, label: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Gray of 16 bits as RGB of 8 bits; floats and larger integers have no known range."""
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65_535:
        raise MediaTypeError(
            f"{label} holds {values.dtype} from {values.min():g} to {values.max():g}, which have no known range; "
            "give it as depth, or save it as 8-bit or 16-bit gray or as an .npy array"
        )
    gray = (values.astype(np.float64) / 257).round().astype(np.uint8)
    levels = f"{len(np.unique(values))} values became {len(np.unique(gray))}"
    return np.repeat(gray[..., None], 3, axis=2), (f"{label}: 16-bit gray was scaled to 8 bits ({levels})",)


def _is_transparent(image: Image.Image) -> bool:
    if not image.has_transparency_data:
        return False
    alpha = image.convert("RGBA").getchannel("A").getextrema()
    return alpha[0] < 255  # type: ignore[operator]


def picture_shape(shape: tuple[int, ...], label: str, modality: str = "video") -> tuple[int, int, int, int]:
    """(T, H, W, K) of an array of pictures: (H, W), (H, W, K <= 4), (T, H, W) or (T, H, W, K <= 4).

    Arrays with channels first are refused: (T, K, H, W), and (K, H, W) where it can be that, in flow, color and normals.
    """
    if len(shape) == 2:
        return (1, shape[0], shape[1], 1)
    if len(shape) == 3 and shape[2] > 4 and shape[0] == _CHANNELS.get(modality):
        raise MediaTypeError(
            f"{label} has shape {shape}: if the channels come first, numpy.moveaxis(array, 0, -1) puts them last; "
            f"{shape[0]} gray pictures are (T, H, W, 1)"
        )
    if len(shape) == 3:
        return (1, *shape) if shape[2] <= 4 else (*shape, 1)  # type: ignore[return-value]
    if len(shape) == 4 and shape[3] <= 4:
        return shape  # type: ignore[return-value]
    if len(shape) == 4 and shape[1] <= 4:
        raise MediaTypeError(
            f"{label} has shape {shape}, with the channels first; numpy.moveaxis(array, 1, -1) puts them last (T, H, W, K)"
        )
    raise MediaTypeError(
        f"{label} has shape {shape}; pictures are (H, W), (H, W, K), (T, H, W) or (T, H, W, K), K at most 4"
    )


_CHANNELS = {"video": 3, "image": 3, "normals": 3, "touch": 3, "flow": 2}  # of arrays that may come channels first


def in_known_unit(values: np.ndarray, modality: str, label: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Checked pictures (T, H, W, K): uint8 or floats as they are, depth of 16 bits in metres; and notes."""
    if modality == "depth" and values.dtype == np.uint16:
        return (values / 1_000).astype(np.float32), (_IN_MILLIMETRES.format(label),)
    check_picture_values(values, label)
    return values, ()


def check_picture_values(values: np.ndarray, label: str) -> None:
    """Raise unless `values` (T, H, W, K) is uint8, or floats that are all finite."""
    if values.dtype != np.uint8 and values.dtype.kind != "f":
        raise MediaTypeError(
            f"{label} holds {values.dtype}; pictures are uint8 (0..255) or floats in their own unit (depth in metres): convert it"
        )
    check_finite(values, label, "picture")


def _one(values: np.ndarray, notes: tuple[str, ...]) -> Frames:
    check_picture_values(values[None], "the picture")
    return Frames(values[None], np.zeros(1), np.zeros(1, dtype=np.int64), notes=notes)


def _too_large(file: GuardedFile, limits: Limits) -> MediaLimitError:
    return MediaLimitError(
        f"{file.label} would decompress to far more than {limits.max_pixels:,} pixels (a decompression bomb?);"
        " if you trust it, raise Limits.max_pixels and PIL.Image.MAX_IMAGE_PIXELS"
    )
