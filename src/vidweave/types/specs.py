"""Requirements of parts, as plain values: preprocessing, pooling, frames and text. Executed by `media` and `model`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from vidweave.errors import ConfigError

__all__ = ["AudioSpec", "FrameNeed", "MotionSpec", "PointSpec", "PoolSpec", "PreprocessSpec", "TextSpec", "VisualSpec"]


@dataclass(frozen=True, kw_only=True)
class VisualSpec:
    """Frames (T, H, W, K) → (T, 3, height, width) float32: resize, scale to 0..1, normalize per channel.

    `squash` ignores the aspect ratio; `crop` resizes the short side and cuts the middle; `pad` resizes the long side
    and fills with the mean. One channel is repeated three times. `scale` multiplies raw values (1/255 for
    uint8; `value_range` maps float modalities such as depth in meters to 0..1 instead, clamped).
    `rounding` of resized 8-bit frames: `none` keeps fractions; `truncate` cuts them off, as tools do
    that keep the resized frame in 8 bits; `wrap` does so without clamping first, a fault of some of them (253 for -3)
    that checkpoints were trained and measured with.
    `crops`: 3 cuts a frame at the start, the middle and the end of its long side; each crop becomes a frame.
    `resampler`: `pillow` resizes 8-bit frames with Pillow, which differs from torch by one step of 255 in places.
    `channels`: `bgr` reverses the channels before they are normalized, a fault of tools that read with OpenCV.
    `short_side`: with `crop`, resize the short side to this before the middle is cut; None is the size itself.
    `crop_rounding`: half a pixel of offset is rounded to `even`, as in torchvision, or `down`, as in transformers.
    `read_short_side`: 8-bit frames are first resized to this short side, bilinear and rounded, as by readers that scale
    while they decode; None skips this step.
    """

    kind: ClassVar[str] = "visual"
    height: int
    width: int
    resize: Literal["squash", "crop", "pad", "none"] = "squash"
    interpolation: Literal["bicubic", "bilinear", "nearest"] = "bicubic"
    antialias: bool = True
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    scale: float = 1 / 255
    value_range: tuple[float, float] | None = None
    rounding: Literal["none", "truncate", "wrap"] = "none"
    crops: Literal[1, 3] = 1
    resampler: Literal["torch", "pillow"] = "torch"
    channels: Literal["rgb", "bgr"] = "rgb"
    read_short_side: int | None = None
    short_side: int | None = None
    crop_rounding: Literal["even", "down"] = "even"

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ConfigError(f"a visual spec needs a positive size, got {self.height} x {self.width}")
        if self.read_short_side is not None and self.read_short_side < 1:
            raise ConfigError(f"read_short_side must be at least 1, got {self.read_short_side}")
        if self.short_side is not None and (self.resize != "crop" or self.short_side < max(self.height, self.width)):
            raise ConfigError(
                f"short_side ({self.short_side}) needs resize='crop', and at least the size {self.height} x {self.width}"
            )
        if min(self.std) <= 0:
            raise ConfigError(f"std must be positive, got {self.std}")
        if self.crops != 1 and self.resize != "crop":
            raise ConfigError(f"crops={self.crops} cut a frame along its long side; use resize='crop'")


@dataclass(frozen=True, kw_only=True)
class AudioSpec:
    """Audio → windows: (T, samples) waveforms, or (T, frames, mel_bins) log-mel spectrograms when `mel_bins` > 0.

    The whole clip is covered by windows of `window_seconds`, one after the other, the last one padded with silence;
    `max_windows` caps them (evenly spaced windows are kept, and the Trace notes it).

    Attributes:
        coverage: `head` keeps the first `max_windows` instead.
        windows_of: `samples` are cut, and each window has its own mel frames. `frames` of the whole audio are cut, as if
            its log-mel spectrogram had been computed at once; the last window is padded with zeros after `mel_mean`.
        remainder: Handling of frames that fill no window (`windows_of="frames"`): `pad` pads them to one;
            `repeat_length` appends as many zeros as there are such frames and keeps whole windows, a fault of
            X-InstructBLIP's evaluation that drops the end of most audio.
        min_windows: Minimum number of windows; missing ones are all padding.
        mel_window: Window function of each mel frame; Kaldi's own is `povey`.
        zero_mean: Subtract the mean of the whole audio from its samples.
        pads_as_sound: Padding after mel frames is normalized like the frames, instead of being zero (OneLLM).
        scale: Factor of the samples, applied first.
        mel_mean, mel_std: Subtracted from log-mel values, which are then divided.
    """

    kind: ClassVar[str] = "audio"
    sample_rate: int
    window_seconds: float
    max_windows: int = 32
    mel_bins: int = 0
    frame_seconds: float = 0.025
    hop_seconds: float = 0.010
    coverage: Literal["spread", "head"] = "spread"
    windows_of: Literal["samples", "frames"] = "samples"
    remainder: Literal["pad", "repeat_length"] = "pad"
    min_windows: int = 1
    scale: float = 1.0
    mel_mean: float = 0.0
    mel_std: float = 1.0
    mel_window: Literal["povey", "hann"] = "povey"
    zero_mean: bool = False
    pads_as_sound: bool = False

    def __post_init__(self) -> None:
        if self.sample_rate < 1 or self.window_seconds <= 0 or self.max_windows < 1:
            raise ConfigError(f"an audio spec needs positive rate, window and max_windows, got {self}")
        if not 1 <= self.min_windows <= self.max_windows or self.mel_std <= 0 or self.scale <= 0:
            raise ConfigError(
                f"an audio spec needs min_windows within 1..max_windows, positive scale and mel_std, got {self}"
            )
        if self.windows_of == "frames" and not self.mel_bins:
            raise ConfigError("windows_of='frames' needs mel_bins: without them there are only samples")

    @property
    def window_frames(self) -> int:
        """Mel frames of a window, where frames are cut (`windows_of`)."""
        return max(1, round(self.window_seconds / self.hop_seconds))


@dataclass(frozen=True, kw_only=True)
class PointSpec:
    """Points → (1, num_points, 3 + feature_width): sampled or repeated to `num_points` by a fixed rule.

    Attributes:
        without_features: Handling of a cloud without features: an error, or its raw coordinates as features
            (`coordinates`; OneLLM on Contra4).
        normalize: Move the center to 0 and scale the farthest point to distance 1. Otherwise coordinates are kept.
        voxels: Coordinates become integers 0..voxels-1 in the cloud's bounding cube; 0 keeps them.
        fill: Padding of too few points: the points again, or zeros (`zero`), which then count as points.
        sampling: Points kept of too many: evenly `spread` ones in their order, or `farthest` point sampling
            of the normalized cloud, starting with the first.
    """

    kind: ClassVar[str] = "points"
    num_points: int
    feature_width: int = 0
    without_features: Literal["error", "coordinates"] = "error"
    normalize: bool = True
    voxels: int = 0
    fill: Literal["repeat", "zero"] = "repeat"
    sampling: Literal["spread", "farthest"] = "spread"

    def __post_init__(self) -> None:
        if self.num_points < 1 or self.feature_width < 0 or self.voxels < 0:
            raise ConfigError(f"a point spec needs num_points, and no negative feature_width or voxels, got {self}")
        if self.voxels and self.normalize:
            raise ConfigError("normalize and voxels both place the points; choose one")


@dataclass(frozen=True, kw_only=True)
class MotionSpec:
    """Motion → maps (T, 2, height, width) float32, one per step of 1/fps seconds, whatever the frame rate.

    Attributes:
        source: `motion_vectors`: those stored by the video codec, per block; `flow`: precomputed flow;
            `frame_differences`: brightness (0..1) gained and lost, no displacement; `pictures`: pairs of RGB
            frames (T, 2, 3, height, width) uint8, one step apart, for an encoder that estimates flow itself.
        fps: Steps per second.
        height, width: Size of the maps. Displacements (right, down) are in pixels of a frame of this size, per step.
        normalize: `clip_max` divides by the clip's largest magnitude (plus 1e-5), after `max_maps` has been applied.
        max_maps: Maximum number of maps; of a longer clip, evenly spread maps are kept, and the Trace notes it.
        fallback: Where the codec has no motion vectors: estimate them by encoding the frames again
            in memory (the Trace notes it), or fail.
    """

    kind: ClassVar[str] = "motion"
    source: Literal["motion_vectors", "flow", "frame_differences", "pictures"]
    fps: float
    height: int
    width: int
    normalize: Literal["none", "clip_max"] = "none"
    max_maps: int = 65_536
    fallback: Literal["reencode", "error"] = "reencode"

    def __post_init__(self) -> None:
        if not self.fps > 0 or self.max_maps < 1 or min(self.height, self.width) < 1:
            raise ConfigError(f"a motion spec needs positive fps, size and max_maps, got {self}")


PreprocessSpec = VisualSpec | AudioSpec | PointSpec | MotionSpec


@dataclass(frozen=True, kw_only=True)
class PoolSpec:
    """Parameter-free pooling of a stream's tokens, applied before the feature store, which then needs less space.

    `steps` is the number of equal time steps in a segment's tokens, one after the other (video towers): each
    becomes a segment of its own. `grid` averages the square grid of patch tokens to `grid` x `grid` (a CLS token, if any,
    is dropped when `drop_cls`); `time` averages that many neighboring segments.
    """

    grid: int | None = None
    time: int = 1
    drop_cls: bool = False
    steps: int = 1

    def __post_init__(self) -> None:
        if min(self.time, self.steps, 1 if self.grid is None else self.grid) < 1:
            raise ConfigError(f"a pooling's grid, time and steps must be at least 1, got {self}")


@dataclass(frozen=True, kw_only=True)
class FrameNeed:
    """Frames that a stream needs: at most one of `num_frames` and `fps` is set; neither means every frame.

    Attributes:
        num_frames: Number of frames, spread over the selection (or over the whole clip).
        fps: Sampling rate in frames per second.
        max_frames: Limit for any rule; more frames raise an error that names the setting.
        window: Number of neighboring frames that the encoder processes together; T segments = frames / window.
        follow_selection: False uses the whole clip whatever the selector chose (e.g. audio).
        rule: Placement of uniform frames. `linspace`: first and last included, rounded half to even (MA-LMM);
            `midpoint`: middle of k equal parts (the default); `floor`: floor(i * N / k) (transformers); `truncate`: as
            `linspace`, but cut off instead of rounded; `borders`: halfway between whole-numbered borders of the parts,
            rounded down (CREMA, SeViLA); `clip_starts`: the first frames of `num_frames` clips of one second each, at
            k * (seconds - 1) / num_frames (OneLLM), which leaves out the end of a clip.
        still: Handling of a single image: `repeat` repeats it `num_frames` times, like a video of one frame; `once`
            gives one segment, for models that were trained with images.
        stride: Sample `num_frames` frames at this stride from a denser uniform grid, the first included, so that
            encoders with different numbers of frames use the same timestamps.
    """

    num_frames: int | None = None
    fps: float | None = None
    max_frames: int = 4_096
    window: int = 1
    follow_selection: bool = True
    rule: Literal["midpoint", "linspace", "floor", "truncate", "borders", "clip_starts"] = "midpoint"
    stride: int = 1
    still: Literal["repeat", "once"] = "repeat"

    def __post_init__(self) -> None:
        if self.stride < 1 or (self.stride > 1 and self.num_frames is None):
            raise ConfigError(f"stride ({self.stride}) must be at least 1, and needs num_frames")
        if self.num_frames is not None and self.fps is not None:
            raise ConfigError(f"give num_frames ({self.num_frames}) or fps ({self.fps}), not both")
        if self.num_frames is not None and self.num_frames < 1:
            raise ConfigError(f"num_frames must be at least 1, got {self.num_frames}")
        if self.fps is not None and self.fps <= 0:
            raise ConfigError(f"fps must be positive, got {self.fps}")
        if self.window < 1 or (self.num_frames is not None and self.num_frames % self.window):
            raise ConfigError(f"num_frames ({self.num_frames}) must be a multiple of window ({self.window})")


@dataclass(frozen=True, kw_only=True)
class TextSpec:
    """Tokenization of the text of a slot: tokenizer, maximum length, and truncation side.

    `template` contains {question} and any text around it.
    """

    tokenizer: str
    max_tokens: int
    template: str = "{question}"
    truncation_side: Literal["left", "right"] = "right"
    add_special_tokens: bool = True
