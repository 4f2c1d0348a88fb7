"""Reading pictures: files by Pillow, arrays from `.npy`."""

from __future__ import annotations

import os
import struct
import threading
import warnings
import zlib

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vidweave.errors import MediaDecodeError, MediaLimitError, MediaTypeError
from vidweave.media.arrays import ArrayFile, check_finite
from vidweave.media.guards import GuardedFile
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.media.sniff import kind_of
from vidweave.types import Frames

__all__ = ["check_picture_values", "picture_shape", "read_image", "read_picture"]

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
_OPENING = threading.Lock()  # warnings.catch_warnings changes the whole process


def read_image(source: str | os.PathLike[str] | bytes, *, limits: Limits = DEFAULT_LIMITS) -> Frames:
    """Read one picture: JPEG, PNG, WebP, BMP, GIF, TIFF or PPM as RGB, or an `.npy` array (H, W) or (H, W, K).

    The orientation that a camera wrote down (EXIF) is applied, CMYK and palettes become RGB, transparency is dropped,
    16-bit grey is scaled to 8 bits. A GIF or TIFF with several pictures is refused: give it as a video.

    Returns:
        Frames with one picture at 0 s: uint8 (1, H, W, 3), or the array's own values and channels.

    Raises:
        MediaTypeError: not a picture. MediaDecodeError: truncated or corrupt. MediaLimitError: above `Limits.max_pixels`.
    """
    with GuardedFile(source, limits=limits) as file:
        if kind_of(file.head()) != "array":
            return _one(read_picture(file, limits=limits, is_alone=True))
    with ArrayFile(source, limits=limits) as array:
        shape = picture_shape(array.shape, array.label)
        if shape[0] != 1:
            raise MediaTypeError(
                f"{array.label} holds {shape[0]} pictures, one was expected; give it as a video or depth"
            )
        values = array.read_all().reshape(shape)
    check_picture_values(values, array.label)
    return _one(values[0])


def read_picture(file: GuardedFile, *, limits: Limits, is_alone: bool = False) -> np.ndarray:
    """Decode one open picture file to (H, W, 3) uint8; see `read_image`."""
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own cap follows
        try:
            image = Image.open(file, formats=_FORMATS)  # type: ignore[arg-type]
        except Image.DecompressionBombError:
            raise _too_large(file, limits) from None
        except UnidentifiedImageError:
            raise MediaTypeError(
                f"{file.label} is not a picture of a kind that is read ({', '.join(_FORMATS)})"
            ) from None
        except _BROKEN:
            file.check_unchanged()
            raise MediaDecodeError(f"{file.label} cannot be decoded as a picture; it is truncated or corrupt") from None
    limits.check("max_pixels", image.width * image.height, f"{file.label} has too many pixels")
    if is_alone and getattr(image, "n_frames", 1) > 1:
        count = getattr(image, "n_frames", 1)
        raise MediaTypeError(f"{file.label} holds {count} pictures, one was expected; give it as a video")
    try:
        values = np.array(_to_rgb(image))
    except Image.DecompressionBombError:
        raise _too_large(file, limits) from None
    except (*_BROKEN, MemoryError):
        file.check_unchanged()
        raise MediaDecodeError(f"{file.label} cannot be decoded as a picture; it is truncated or corrupt") from None
    file.check_unchanged()
    return values


def _to_rgb(image: Image.Image) -> Image.Image:
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I;16", "I")):
        grey = np.asarray(image).astype(np.int64).clip(0, 65_535)
        image = Image.fromarray((grey / 257).round().astype(np.uint8))
    if image.mode == "F":
        raise ValueError("float pictures have no known range")
    return image.convert("RGB")


def picture_shape(shape: tuple[int, ...], label: str) -> tuple[int, int, int, int]:
    """(T, H, W, K) of an array of pictures: (H, W), (H, W, K <= 4), (T, H, W) or (T, H, W, K <= 4)."""
    if len(shape) == 2:
        return (1, shape[0], shape[1], 1)
    if len(shape) == 3:
        return (1, *shape) if shape[2] <= 4 else (*shape, 1)  # type: ignore[return-value]
    if len(shape) == 4 and shape[3] <= 4:
        return shape  # type: ignore[return-value]
    raise MediaTypeError(
        f"{label} has shape {shape}; pictures are (H, W), (H, W, K), (T, H, W) or (T, H, W, K), K at most 4"
    )


def check_picture_values(values: np.ndarray, label: str) -> None:
    """Raise unless `values` (T, H, W, K) is uint8, or floats that are all finite."""
    if values.dtype != np.uint8 and values.dtype.kind != "f":
        raise MediaTypeError(
            f"{label} holds {values.dtype}; pictures are uint8 (0..255) or floats in their own unit (depth in metres): convert it"
        )
    check_finite(values, label, "picture")


def _one(values: np.ndarray) -> Frames:
    return Frames(values[None], np.zeros(1), np.zeros(1, dtype=np.int64))


def _too_large(file: GuardedFile, limits: Limits) -> MediaLimitError:
    return MediaLimitError(
        f"{file.label} would decompress to far more than {limits.max_pixels:,} pixels (a decompression bomb?);"
        " if you trust it, raise Limits.max_pixels and PIL.Image.MAX_IMAGE_PIXELS"
    )
