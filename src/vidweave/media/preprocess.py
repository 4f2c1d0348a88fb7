"""Apply preprocessing specs in plain torch: carriers in, model-ready tensors out."""

# Axes: T frames, H height, W width, K channels, V windows of audio, S samples, P points, C point features

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from vidweave.errors import ShapeError
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.media.mel import log_mel
from vidweave.media.plan import spread
from vidweave.types import (
    ArrayCarrier,
    AudioSpec,
    CarrierSpec,
    Frames,
    PointCloud,
    PointSpec,
    PreprocessSpec,
    VisualSpec,
    Waveform,
)

__all__ = ["apply", "audio_windows"]

_CHUNK_PIXELS = 2**23  # source pixels held as floats at a time


def apply(
    spec: PreprocessSpec | CarrierSpec,
    carrier: Frames | Waveform | PointCloud | ArrayCarrier,
    *,
    limits: Limits = DEFAULT_LIMITS,
) -> tuple[Tensor, Tensor]:
    """Convert a carrier to the input of an encoder.

    Returns:
        VisualSpec and Frames: (T, 3, height, width) float32 and the times (T,) float64.
        AudioSpec and Waveform: (V, S) or (V, frames, mel_bins) float32, and start and end of each window (V, 2)
        float64. CarrierSpec and ArrayCarrier: the result of the spec's own `apply`. PointSpec and PointCloud: (1,
        num_points, 3 + feature_width) float32 and zeros (1, 2).

    Raises:
        ShapeError: a carrier that does not match the spec; the message states what was expected.
        MediaLimitError: the tensor would be above `Limits.max_decoded_bytes`.
    """
    if isinstance(spec, VisualSpec) and isinstance(carrier, Frames):
        return _pictures(spec, carrier, limits)
    if isinstance(spec, AudioSpec) and isinstance(carrier, Waveform):
        return _sound(spec, carrier, limits)
    if isinstance(spec, PointSpec) and isinstance(carrier, PointCloud):
        return _cloud(spec, carrier, limits)
    if isinstance(spec, CarrierSpec) and isinstance(carrier, ArrayCarrier):
        values, seconds = spec.apply(carrier)
        return torch.from_numpy(values), torch.from_numpy(seconds)
    raise ShapeError(f"a {type(spec).__name__} cannot be applied to {type(carrier).__name__}")


def audio_windows(num_samples: int, spec: AudioSpec) -> tuple[np.ndarray, list[str]]:
    """Return the first sample (V,) of each window over the clip, and a note if `max_windows` omitted some."""
    if spec.windows_of == "frames":
        hop, size = round(spec.hop_seconds * spec.sample_rate), round(spec.frame_seconds * spec.sample_rate)
        frames = max(0, num_samples - size) // hop + 1
        step, rest = spec.window_frames * hop, frames % spec.window_frames
        padding = -rest % spec.window_frames if spec.remainder == "pad" else rest
        count = (frames + padding) // spec.window_frames
    else:
        step = max(1, round(spec.window_seconds * spec.sample_rate))
        count = max(1, -(-num_samples // step))
    count = max(count, spec.min_windows)
    most = min(count, spec.max_windows)
    kept = np.arange(most) if spec.coverage == "head" else spread(most, count)
    if count <= spec.max_windows:
        return kept * step, []
    options = "the first ones" if spec.coverage == "head" else "evenly spread"
    return kept * step, [f"{most} of {count} windows of audio are used, {options} (AudioSpec.max_windows)"]


# ---- frames


def _pictures(spec: VisualSpec, frames: Frames, limits: Limits) -> tuple[Tensor, Tensor]:
    count, height, width, channels = frames.values.shape
    what = f"{count} frames of {spec.width}x{spec.height} would take too many bytes"
    limits.check("max_decoded_bytes", 12 * count * spec.crops * spec.height * spec.width, what)
    if channels not in (1, 2, 3):
        raise ShapeError(f"frames have 1, 2 or 3 channels, got {channels}")
    if spec.resize == "none" and not spec.read_short_side and (height, width) != (spec.height, spec.width):
        raise ShapeError(f"the spec takes frames of {spec.width}x{spec.height} as they are, got {width}x{height}")
    _check_unit(spec, frames)
    step = max(1, _CHUNK_PIXELS // max(1, height * width))
    out = torch.empty(count, spec.crops, 3, spec.height, spec.width)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (spec.mean, spec.std))
    for first in range(0, count, step):
        chunk = _to_planes(frames.values[first : first + step])
        chunk = _as_read(spec, chunk) if frames.values.dtype == np.uint8 else chunk
        unit = _to_unit(spec, chunk if spec.channels == "rgb" else chunk.flip(1), frames.values.dtype)
        out[first : first + step] = (unit.view(-1, spec.crops, *unit.shape[1:]) - mean) / std
    return out.flatten(0, 1), torch.from_numpy(np.asarray(frames.pts_seconds, dtype=np.float64).copy())


def _check_unit(spec: VisualSpec, frames: Frames) -> None:
    is_float = frames.values.dtype.kind == "f"
    if not is_float and frames.values.dtype != np.uint8:
        raise ShapeError(f"frames must be uint8 or float, got {frames.values.dtype}")
    if is_float and spec.value_range is None and spec.scale == VisualSpec.scale:
        raise ShapeError("float frames (depth, flow, …) need a spec with value_range, or with a scale of their own")


def _to_planes(values: np.ndarray) -> Tensor:
    """(T, H, W, K) → (T, 3, H, W) float32: one channel is repeated, two (flow) are extended by zeros."""
    planes = torch.from_numpy(np.ascontiguousarray(values)).permute(0, 3, 1, 2).float()
    if planes.shape[1] == 1:
        return planes.expand(-1, 3, -1, -1)
    if planes.shape[1] == 2:
        return functional.pad(planes, (0, 0, 0, 0, 0, 1))
    return planes


def _as_read(spec: VisualSpec, planes: Tensor) -> Tensor:
    """Resize like a reader that scales while decoding, such as OpenCV's: bilinear, without antialiasing."""
    if spec.read_short_side is None:
        return planes
    height, width = planes.shape[-2:]
    scale = spec.read_short_side / min(height, width)
    size = (max(1, int(height * scale)), max(1, int(width * scale)))
    return functional.interpolate(planes, size, mode="bilinear", align_corners=False).round()


def _to_unit(spec: VisualSpec, planes: Tensor, dtype: np.dtype) -> Tensor:
    """Resize and scale. Bicubic overshoot is clamped to the possible range of values."""
    if dtype == np.uint8:  # a frame file of depth stores its range as 0..255
        scale = spec.scale if spec.value_range is None else 1 / 255
        return _to_8_bit(spec, _resize(spec, planes)) * scale
    if spec.value_range is None:
        return _resize(spec, planes * spec.scale)
    low, high = spec.value_range
    return _resize(spec, ((planes - low) / (high - low)).clamp(0, 1)).clamp(0, 1)


def _to_8_bit(spec: VisualSpec, planes: Tensor) -> Tensor:
    """Round to the values of an 8-bit frame, or (`rounding="none"`) only clamp to their range."""
    if spec.rounding == "wrap":
        return planes.trunc().remainder(256)
    return planes.clamp(0, 255).trunc() if spec.rounding == "truncate" else planes.clamp(0, 255)


def _resize(spec: VisualSpec, planes: Tensor) -> Tensor:
    height, width = planes.shape[-2:]
    if spec.resize in ("none", "squash"):
        return _interpolate(spec, planes, spec.height, spec.width)
    if spec.resize == "crop":
        least = (spec.height, spec.width) if spec.short_side is None else (spec.short_side, spec.short_side)
        scale = max(least[0] / height, least[1] / width)
        rows, columns = max(least[0], int(height * scale)), max(least[1], int(width * scale))
        planes = _interpolate(spec, planes, rows, columns)
        if spec.crops > 1:
            return _along(spec, planes)
        beside = (rows - spec.height, columns - spec.width)
        top, left = (round(n / 2) if spec.crop_rounding == "even" else n // 2 for n in beside)
        return planes[..., top : top + spec.height, left : left + spec.width]
    scale = min(spec.height / height, spec.width / width)
    rows, columns = max(1, min(spec.height, round(height * scale))), max(1, min(spec.width, round(width * scale)))
    return _pad(spec, _interpolate(spec, planes, rows, columns))


def _along(spec: VisualSpec, planes: Tensor) -> Tensor:
    """(T, 3, H, W) → (T * 3, 3, height, width): crops at the start, the middle (rounded up) and the end of each axis."""
    over = [have - want for have, want in zip(planes.shape[-2:], (spec.height, spec.width), strict=True)]
    places = [[0, -(-rest // 2), rest] for rest in over]
    cut = [planes[..., y : y + spec.height, x : x + spec.width] for y, x in zip(*places, strict=True)]
    return torch.stack(cut, 1).flatten(0, 1)


def _pad(spec: VisualSpec, planes: Tensor) -> Tensor:
    """Center the frame on a background that normalizes to zero."""
    rows, columns = planes.shape[-2:]
    unit = spec.scale if spec.value_range is None else 1.0
    ground = torch.tensor(spec.mean).view(3, 1, 1) / unit
    out = ground.expand(len(planes), 3, spec.height, spec.width).clone()
    top, left = (spec.height - rows) // 2, (spec.width - columns) // 2
    out[..., top : top + rows, left : left + columns] = planes
    return out


def _interpolate(spec: VisualSpec, planes: Tensor, height: int, width: int) -> Tensor:
    if tuple(planes.shape[-2:]) == (height, width):
        return planes
    if spec.resampler == "pillow" and not spec.value_range and bool((planes == planes.round()).all()):
        return _by_pillow(spec, planes, height, width)
    if spec.interpolation == "nearest":
        return functional.interpolate(planes, (height, width), mode="nearest-exact")
    return functional.interpolate(
        planes, (height, width), mode=spec.interpolation, antialias=spec.antialias, align_corners=False
    )


def _by_pillow(spec: VisualSpec, planes: Tensor, height: int, width: int) -> Tensor:
    """Resize 8-bit planes (T, 3, H, W) with Pillow: rows first, then columns, independent of its version's order."""
    method = getattr(Image.Resampling, spec.interpolation.upper())
    images = planes.permute(0, 2, 3, 1).to(torch.uint8).numpy()
    rows = (Image.fromarray(image).resize((width, planes.shape[2]), method) for image in images)
    resized = [np.asarray(image.resize((width, height), method)) for image in rows]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float()


# ---- audio


def _sound(spec: AudioSpec, waveform: Waveform, limits: Limits) -> tuple[Tensor, Tensor]:
    if waveform.sample_rate != spec.sample_rate:
        raise ShapeError(
            f"the spec expects audio at {spec.sample_rate} Hz, got {waveform.sample_rate} Hz; read it at that rate"
        )
    size = max(1, round(spec.window_seconds * spec.sample_rate))
    starts, _ = audio_windows(len(waveform.samples), spec)
    limits.check(
        "max_decoded_bytes", 4 * size * len(starts), f"{len(starts)} windows of audio would take too many bytes"
    )
    samples = torch.from_numpy(np.asarray(waveform.samples, dtype=np.float32).copy())
    samples = samples - samples.mean() if spec.zero_mean and len(samples) else samples
    samples = samples if spec.scale == 1.0 else samples * spec.scale
    cut = _cut_frames if spec.windows_of == "frames" else _cut_samples
    begin = waveform.start_seconds + torch.from_numpy(starts / spec.sample_rate)
    end = (begin + size / spec.sample_rate).clamp(max=waveform.start_seconds + waveform.duration_seconds)
    return cut(spec, samples, starts, size), torch.stack([begin, end.maximum(begin)], dim=1)


def _cut_samples(spec: AudioSpec, samples: Tensor, starts: np.ndarray, size: int) -> Tensor:
    """Cut windows of samples, each with its own mel frames: (V, S) or (V, F, M)."""
    parts = (samples[start : start + size] for start in starts)
    windows = torch.stack([functional.pad(part, (0, size - len(part))) for part in parts])
    return _normalized(spec, log_mel(windows, spec)) if spec.mel_bins else windows


def _cut_frames(spec: AudioSpec, samples: Tensor, starts: np.ndarray, size: int) -> Tensor:
    """Cut windows (V, F, M) from the mel frames of the whole audio; frames extend beyond the end of their window."""
    hop, width = round(spec.hop_seconds * spec.sample_rate), round(spec.frame_seconds * spec.sample_rate)
    if len(samples) < width:
        raise ShapeError(f"the audio has {len(samples)} samples, less than one mel frame of {width}; give a longer one")
    windows = torch.zeros(len(starts), spec.window_frames, spec.mel_bins)
    windows = _normalized(spec, windows) if spec.pads_as_sound else windows
    for window, start in zip(windows, starts, strict=True):
        part = samples[start : start + (spec.window_frames - 1) * hop + width]
        if len(part) >= width:
            frames = _normalized(spec, log_mel(part[None], spec))[0]
            window[: len(frames)] = frames
    return windows


def _normalized(spec: AudioSpec, mel: Tensor) -> Tensor:
    return (mel - spec.mel_mean) / spec.mel_std


# ---- points


def _cloud(spec: PointSpec, cloud: PointCloud, limits: Limits) -> tuple[Tensor, Tensor]:
    width = 0 if cloud.features is None else cloud.features.shape[1]
    if not len(cloud):
        raise ShapeError("the point cloud is empty")
    if spec.without_features == "coordinates" and cloud.features is None:
        cloud, width = replace(cloud, features=cloud.coordinates), 3
    if spec.feature_width and width != spec.feature_width:
        raise ShapeError(f"the spec expects points with {spec.feature_width} features, got {width}")
    limits.check(
        "max_decoded_bytes", 4 * spec.num_points * (3 + spec.feature_width), "the points would take too many bytes"
    )
    rows, fill = _rows_of_points(spec, cloud)
    points = torch.from_numpy(np.asarray(cloud.coordinates[rows], dtype=np.float64))
    if spec.normalize:
        points = _in_sphere(points)
    if spec.sampling == "farthest" and len(points) > spec.num_points:
        rows = _farthest(points, spec.num_points)
        points = points[rows]
    if spec.voxels:
        points = _in_cube(points, spec.voxels)
    points = points.float()
    if spec.feature_width and cloud.features is not None:
        features = torch.from_numpy(np.asarray(cloud.features[rows], dtype=np.float32))
        points = torch.cat([points, features], dim=1)
    return functional.pad(points, (0, 0, 0, fill))[None], torch.zeros(1, 2, dtype=torch.float64)


def _rows_of_points(spec: PointSpec, cloud: PointCloud) -> tuple[np.ndarray, int]:
    """Return the points to sample before they are placed, and the number of zeros after them."""
    if len(cloud) >= spec.num_points:
        keeps_all = spec.sampling == "farthest"  # distances are measured between placed points
        return (np.arange(len(cloud)) if keeps_all else spread(spec.num_points, len(cloud), "floor")), 0
    if spec.fill == "zero":
        return np.arange(len(cloud)), spec.num_points - len(cloud)
    return np.arange(spec.num_points) % len(cloud), 0


def _farthest(points: Tensor, count: int) -> np.ndarray:
    """Return rows of points, each the farthest from all previous ones, starting at the first (data workers do not
    import the batched form in `nn.points`).
    """
    chosen = np.zeros(count, dtype=np.int64)
    distance = torch.full((len(points),), torch.inf, dtype=points.dtype)
    for step in range(1, count):
        distance = distance.minimum((points - points[chosen[step - 1]]).square().sum(-1))
        chosen[step] = int(distance.argmax())
    return chosen


def _in_sphere(points: Tensor) -> Tensor:
    """Move the center to 0 and scale the farthest point to distance 1; a single point stays at 0."""
    points = points - points.mean(dim=0)
    return points / points.norm(dim=1).max().clamp(min=1e-6)


def _in_cube(points: Tensor, voxels: int) -> Tensor:
    """(P, 3) → integers 0..voxels-1, in the smallest cube that contains the points."""
    low = points.amin(0)
    side = (points - low).max().clamp(min=1e-6)
    return ((points - low) / side * (voxels - 1)).round()
