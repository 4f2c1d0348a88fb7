"""Read images: files with Pillow, arrays from `.npy`."""

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
    "check_image_values",
    "decoding_image",
    "in_known_unit",
    "num_pages",
    "open_image",
    "image_shape",
    "read_image",
    "read_image_file",
    "to_values",
]

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
_OPENING = threading.Lock()  # warnings.catch_warnings changes the whole process


def read_image(
    source: str | os.PathLike[str] | bytes, *, modality: str = "image", limits: Limits = DEFAULT_LIMITS
) -> Frames:
    """Read one image: JPEG, PNG, WebP, BMP, GIF, TIFF or PPM as RGB, or an `.npy` array (H, W) or (H, W, K).

    EXIF orientation is applied, CMYK and palettes become RGB, transparency is dropped, 16-bit gray is scaled to 8 bits.
    Depth keeps its values: 16-bit gray is read as millimeters, float gray as meters; both are returned in meters (1, H, W,
    1) float32. Of a photograph with embedded previews (MPO) the main image is read. Any other file with several images is
    refused: give it as a video.

    Returns:
        Frames with one frame at 0 s: uint8 (1, H, W, 3), or the array's own values and channels; notes on conversions.

    Raises:
        MediaTypeError: not an image. MediaDecodeError: truncated or corrupt. MediaLimitError: above `Limits.max_pixels`.
    """
    with GuardedFile(source, limits=limits) as file:
        if kind_of(file.head()) != "array":
            return _one(*read_image_file(file, modality=modality, limits=limits))
    with ArrayFile(source, limits=limits) as array:
        shape = image_shape(array.shape, array.label, modality)
        if shape[0] != 1:
            raise MediaTypeError(
                f"{array.label} holds {shape[0]} frames, but one image was expected; give it as a video or depth"
            )
        values = array.read_all().reshape(shape)
    values, notes = in_known_unit(values, modality, array.label)
    return _one(values[0], notes)


def read_image_file(
    file: GuardedFile, *, modality: str = "image", limits: Limits = DEFAULT_LIMITS
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Decode one open image file to (H, W, 3) uint8 (depth: see `read_image`), and notes on conversions."""
    image = open_image(file, limits=limits)
    count = getattr(image, "n_frames", 1)
    if count > 1 and image.format != "MPO":
        raise MediaTypeError(f"{file.label} holds {count} images, but one was expected; give it as a video")
    with decoding_image(file, limits):
        values, notes = to_values(image, modality, file.label)
    return values, notes


def num_pages(source: str | os.PathLike[str] | bytes, *, limits: Limits = DEFAULT_LIMITS) -> int:
    """Return the number of images in a file; embedded previews of a photograph (MPO) do not count."""
    with GuardedFile(source, limits=limits) as file:
        image = open_image(file, limits=limits)
        with decoding_image(file, limits):
            return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)


def open_image(file: GuardedFile, *, limits: Limits) -> Image.Image:
    """Open an image file with Pillow: only its header, and within the limits."""
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own cap follows
        try:
            image = Image.open(file, formats=_FORMATS)  # type: ignore[arg-type]
        except Image.DecompressionBombError:
            raise _too_large(file, limits) from None
        except UnidentifiedImageError:
            refuse_foreign(file.head(HEAD_BYTES), file.label)
            raise MediaTypeError(
                f"{file.label} is not an image in a supported format ({', '.join(_FORMATS)})"
            ) from None
        except _BROKEN:
            file.check_unchanged()
            raise MediaDecodeError(f"{file.label} cannot be decoded as an image; it is truncated or corrupt") from None
    limits.check("max_pixels", image.width * image.height, f"{file.label} has too many pixels")
    return image


@contextmanager
def decoding_image(file: GuardedFile, limits: Limits) -> Iterator[None]:
    """Convert Pillow's errors to ours; afterwards, check that the file did not change."""
    try:
        yield
    except MediaError:
        raise
    except Image.DecompressionBombError:
        raise _too_large(file, limits) from None
    except (*_BROKEN, MemoryError):
        file.check_unchanged()
        raise MediaDecodeError(f"{file.label} cannot be decoded as an image; it is truncated or corrupt") from None
    file.check_unchanged()


def to_values(image: Image.Image, modality: str, label: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Decode the current page of an image: (H, W, 3) uint8, or (H, W, 1) float32 for depth; and notes."""
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        return _depth(values, label) if modality == "depth" else _eight_bit(values, label)
    notes = (f"{label}: transparency was dropped",) if _is_transparent(image) else ()
    return np.array(image.convert("RGB")), notes


def _depth(values: np.ndarray, label: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Convert integers in millimeters, or floats in meters, to meters (H, W, 1) float32."""
    if values.dtype.kind == "f":
        return values[..., None].astype(np.float32), ()
    if values.min() < 0:
        raise MediaTypeError(f"{label} holds negative integers, but depth in millimeters must be positive")
    return (values[..., None] / 1_000).astype(np.float32), (_IN_MILLIMETRES.format(label),)


_IN_MILLIMETRES = "{}: 16-bit depth was read as millimeters; if it has another unit, give meters as floats (.npy)"


def _eight_bit(values: np.ndarray, label: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Convert 16-bit gray to 8-bit RGB; floats and larger integers have no known range."""
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65_535:
        raise MediaTypeError(
            f"{label} holds {values.dtype} from {values.min():g} to {values.max():g}, whose range is unknown; "
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


def image_shape(shape: tuple[int, ...], label: str, modality: str = "video") -> tuple[int, int, int, int]:
    """Return (T, H, W, K) for an array of frames: (H, W), (H, W, K <= 4), (T, H, W) or (T, H, W, K <= 4).

    Channels-first arrays are refused: (T, K, H, W), and (K, H, W) where it is possible, in flow, color and normals.
    """
    if len(shape) == 2:
        return (1, shape[0], shape[1], 1)
    if len(shape) == 3 and shape[2] > 4 and shape[0] == _CHANNELS.get(modality):
        raise MediaTypeError(
            f"{label} has shape {shape}: if the channels come first, numpy.moveaxis(array, 0, -1) puts them last; "
            f"{shape[0]} gray frames are (T, H, W, 1)"
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
        f"{label} has shape {shape}; frames must be (H, W), (H, W, K), (T, H, W) or (T, H, W, K), K at most 4"
    )


_CHANNELS = {"video": 3, "image": 3, "normals": 3, "touch": 3, "flow": 2}  # of arrays that may be channels-first


def in_known_unit(values: np.ndarray, modality: str, label: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Check frames (T, H, W, K): uint8 or floats are kept, 16-bit depth is converted to meters; and notes."""
    if modality == "depth" and values.dtype == np.uint16:
        return (values / 1_000).astype(np.float32), (_IN_MILLIMETRES.format(label),)
    check_image_values(values, label)
    return values, ()


def check_image_values(values: np.ndarray, label: str) -> None:
    """Raise unless `values` (T, H, W, K) is uint8, or floats that are all finite."""
    if values.dtype != np.uint8 and values.dtype.kind != "f":
        raise MediaTypeError(
            f"{label} holds {values.dtype}, but frames must be uint8 (0..255) or floats in their own unit (depth in meters); convert it"
        )
    check_finite(values, label, "frame")


def _one(values: np.ndarray, notes: tuple[str, ...]) -> Frames:
    check_image_values(values[None], "the image")
    return Frames(values[None], np.zeros(1), np.zeros(1, dtype=np.int64), notes=notes)


def _too_large(file: GuardedFile, limits: Limits) -> MediaLimitError:
    return MediaLimitError(
        f"{file.label} would decompress to far more than {limits.max_pixels:,} pixels (a decompression bomb?);"
        " if you trust it, raise Limits.max_pixels and PIL.Image.MAX_IMAGE_PIXELS"
    )
