"""What parts need, as plain values: preprocessing, pooling, frames and text. Executed elsewhere (`media`, `model`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from vidweave.errors import ConfigError

__all__ = ["AudioSpec", "FrameNeed", "MotionSpec", "PointSpec", "PoolSpec", "PreprocessSpec", "TextSpec", "VisualSpec"]


@dataclass(frozen=True, kw_only=True)
class VisualSpec:
    """Pictures (T, H, W, K) → (T, 3, height, width) float32: resize, scale to 0..1, normalise per channel.

    `squash` ignores the aspect ratio; `crop` resizes the short side and cuts the middle; `pad` resizes the long side
    and fills with the mean. One-channel pictures are repeated three times. `scale` multiplies raw values (1/255 for
    uint8; `value_range` maps float modalities such as depth in metres to 0..1 instead, clamped).
    `rounding` is what happens to resized 8-bit pictures: `none` keeps fractions; `truncate` cuts them off, as tools do
    that hold the resized picture in 8 bits; `wrap` does so without clamping first, a fault of some of them (253 for -3)
    that checkpoints were trained and measured with.
    `crops`: 3 cuts a picture at the start, the middle and the end of its long side; each becomes a picture.
    `resampler`: `pillow` resizes 8-bit pictures with Pillow, which differs from torch by one step of 255 in places.
    `channels`: `bgr` turns the channels around before they are normalized, a fault of tools that read with OpenCV.
    `short_side`: with `crop`, the short side is resized to this before the middle is cut; None is the size itself.
    `crop_rounding`: half a pixel beside the middle goes to the `even` side, as in torchvision, or `down`, as in transformers.
    `read_short_side`: 8-bit pictures are first resized to this short side, bilinear and rounded, as by readers that scale
    while they decode; None is no such step.
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
            raise ConfigError(f"crops={self.crops} cut a picture along its long side; use resize='crop'")


@dataclass(frozen=True, kw_only=True)
class AudioSpec:
    """Sound → windows: (T, samples) waveforms, or (T, frames, mel_bins) log-mel pictures when `mel_bins` > 0.

    The whole clip is covered by windows of `window_seconds`, one after the other, the last one padded with silence;
    `max_windows` caps them (evenly spaced windows are kept, and the Trace says so).

    Attributes:
        coverage: `head` keeps the first `max_windows` instead.
        windows_of: `samples` are cut, and each window has its own mel frames. `frames` of the whole sound are cut, as if
            its log-mel picture had been made at once; the last window is padded with zeros behind `mel_mean`.
        remainder: What becomes of frames that fill no window (`windows_of="frames"`): they are padded to one (`pad`), or
            as many zeros as there are such frames are put behind and whole windows kept (`repeat_length`), a fault of
            X-InstructBLIP's evaluation that drops the end of most sounds.
        min_windows: So many windows at least, of nothing but padding if need be.
        mel_window: Of each mel frame; Kaldi's own is `povey`.
        zero_mean: Subtract the mean of the whole sound from its samples.
        pads_as_sound: Padding behind mel frames is normalised as they are, instead of being zero (OneLLM).
        scale: Samples are multiplied by it before anything else.
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
            raise ConfigError("windows_of='frames' needs mel_bins: without them there are samples only")

    @property
    def window_frames(self) -> int:
        """Mel frames of a window, where frames are cut (`windows_of`)."""
        return max(1, round(self.window_seconds / self.hop_seconds))


@dataclass(frozen=True, kw_only=True)
class PointSpec:
    """Points → (1, num_points, 3 + feature_width): sampled or repeated to `num_points` by a fixed rule.

    Attributes:
        without_features: What a cloud without features gets: an error, or its raw coordinates as features (OneLLM on
            Contra4; `coordinates`).
        normalize: The centre goes to 0, the farthest point to distance 1. Otherwise coordinates stay.
        voxels: Coordinates become whole numbers 0..voxels-1 in the cloud's bounding cube; 0 leaves them.
        fill: What stands behind too few points: the points again, or zeros (`zero`), which are then seen as points.
        sampling: Which of too many points stay: evenly `spread` ones in their order, or the `farthest` of each other,
            beginning with the first, of the normalized cloud.
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
    """Motion → maps (T, 2, height, width) float32, one per step of 1/fps seconds, whatever the rate of the pictures.

    Attributes:
        source: `motion_vectors`: what the video codec stored, by block; `flow`: flow that was computed before;
            `frame_differences`: brightness (0..1) that came and that went, no displacement; `pictures`: pairs of RGB
            pictures (T, 2, 3, height, width) uint8, one step apart, for an encoder that estimates flow itself.
        fps: Steps per second.
        height, width: Of the maps. Displacements (right, down) are in pixels of a picture of this size, per step.
        normalize: `clip_max` divides by the clip's largest magnitude (plus 1e-5), after `max_maps` has been applied.
        max_maps: Of a longer clip that many maps are kept, evenly spread, and the Trace says so.
        fallback: What to do with motion vectors where the codec has none: estimate them by encoding the pictures again
            in memory (the Trace says so), or fail.
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
    """Parameter-free pooling of a stream's tokens, applied before the feature store: smaller, and still exact.

    `steps` says that a segment's tokens are those of that many equal times, one after the other (video towers): each
    becomes a segment of its own. `grid` averages the square grid of patch tokens to `grid` x `grid` (a CLS token, if any,
    is dropped when `drop_cls`); `time` averages that many neighbouring segments.
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
    """Which frames a stream wants; exactly one of `num_frames` and `fps` is set, neither means every frame.

    Attributes:
        num_frames: That many pictures, spread over the selection (or over the whole clip).
        fps: Pictures at this rate.
        max_frames: Cap on pictures, whatever the rule; above it the need fails and names the setting.
        window: Neighbouring pictures that the encoder takes together; T segments = pictures / window.
        follow_selection: False: the whole clip whatever the selector chose (e.g. sound).
        rule: How uniform pictures are placed. `linspace`: first and last included, rounded half to even (MA-LMM);
            `midpoint`: middle of k equal parts (the default); `floor`: floor(i * N / k) (transformers); `truncate`: as
            `linspace`, but cut off instead of rounded; `borders`: halfway between whole-numbered borders of the parts,
            rounded down (CREMA, SeViLA); `clip_starts`: the first frames of `num_frames` clips of one second each, at
            k * (seconds - 1) / num_frames (OneLLM), so that the end of a clip is not seen.
        still: What a single image becomes: `repeat` fills `num_frames` with it, as a video of one picture would be; `once`
            gives one segment, for models that know images as images.
        stride: `num_frames` are every so manieth of a denser row of pictures, the first included: encoders with unequal
            numbers of pictures then see the same moments.
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
            raise ConfigError(f"stride ({self.stride}) must be at least 1, and thins out a given num_frames")
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
    """How a slot reads text: which tokenizer, how long, and from which side it is cut.

    `template` holds {question}; what stands around it is read too.
    """

    tokenizer: str
    max_tokens: int
    template: str = "{question}"
    truncation_side: Literal["left", "right"] = "right"
    add_special_tokens: bool = True
