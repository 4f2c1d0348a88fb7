"""The base of vision-language families: one small file per family says what it does with frames and their times."""

# Axes: T frames, H height, W width, L tokens of the prompt

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import transformers
from PIL import Image
from torch import Tensor

from vidweave.errors import CheckpointError, ConfigError
from vidweave.pipelines.vlm.pixels import (
    PixelSettings,
    center_crop,
    normalize,
    resize,
    resize_short_side,
    to_channels_first,
)

__all__ = [
    "FamilyFiles",
    "Footage",
    "MediaBlock",
    "VlmFamily",
    "image_processor_class",
    "repeated",
    "step_seconds",
    "type_ids",
]


@dataclass(frozen=True, eq=False)
class Footage:
    """Frames of one video or image that go into a prompt, in order.

    Attributes:
        frames: (T, H, W, 3) uint8.
        seconds: (T,) float64, time of each frame in its file.
        duration_seconds: End of the file.
        is_dense: Sampled at a frame rate, so that neighbors may share a temporal patch; otherwise each frame is a chosen
            moment and fills a patch of its own.
    """

    frames: np.ndarray
    seconds: np.ndarray
    duration_seconds: float
    is_dense: bool = False


@dataclass(frozen=True, eq=False)
class MediaBlock:
    """A video or image as the model reads it.

    Attributes:
        text: Stands for the placeholder of the chat template.
        tensors: Arguments of the model's forward pass; those of several blocks are concatenated.
        seconds: Times that reach the model, one per time step, as rounded by the family; empty if none do.
        frame_seconds: Times of the frames in their file, set by the pipeline.
        height, width: Size of the resized frames.
        max_pixels: Upper bound that this size obeys; None for families with a fixed size.
        notes: For the Trace.
    """

    text: str
    tensors: Mapping[str, Tensor]
    seconds: tuple[float, ...] = ()
    frame_seconds: tuple[float, ...] = ()
    height: int = 0
    width: int = 0
    max_pixels: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class FamilyFiles:
    """What a family reads of a model folder.

    Attributes:
        folder: The folder.
        config: The model's configuration.
        tokenizer: Its tokenizer.
        video, image: Settings of the video and the image processor, as the files hold them.
        processor: Settings of the processor itself.
    """

    folder: Path
    config: Any
    tokenizer: Any
    video: Mapping[str, Any] = field(default_factory=dict)
    image: Mapping[str, Any] = field(default_factory=dict)
    processor: Mapping[str, Any] = field(default_factory=dict)


class VlmFamily:
    """A family of vision-language models; subclasses are registered by transformers' `model_type`.

    Attributes:
        model_class: Name of the class in transformers.
        image_class: Name of its image processor for Pillow, which prepares stills.
        times: How times reach the model: as `text`, as `positions`, or not at all (`none`).
        temporal_patch: Consecutive frames that the vision tower merges.
        num_frames: Frames of a clip unless a number is requested.
        defaults: Settings of its video processor that a folder may leave out.
        video_mark, image_mark: Placeholders that the chat template writes.
        video_part: Part of a message that stands for a video: `image` for chat templates that know no videos.
        template: Chat template of folders that have none.
        has_budget: Whether `max_pixels` changes the size of its frames.
        reads_stills: Whether stills have a form of their own; otherwise they go in as videos of one frame.
    """

    model_class: ClassVar[str]
    image_class: ClassVar[str] = ""
    times: ClassVar[Literal["text", "positions", "none"]] = "none"
    temporal_patch: ClassVar[int] = 1
    num_frames: ClassVar[int] = 16
    defaults: ClassVar[Mapping[str, Any]] = {}
    video_mark: str = "<video>"
    image_mark: str = "<image>"
    video_part: ClassVar[str] = "video"
    template: ClassVar[str] = ""
    has_budget: ClassVar[bool] = False
    reads_stills: ClassVar[bool] = False

    def __init__(self, files: FamilyFiles) -> None:
        self.files = files
        self.pixels = PixelSettings.of({**self.defaults, **files.video}, str(files.folder))
        self._stills: Any = None

    # -- what a subclass says ------------------------------------------------------------------------------------

    def video(self, footage: Footage, max_pixels: int | None = None) -> MediaBlock:
        """Convert the frames of a video to text and tensors."""
        raise NotImplementedError

    def image(self, frame: np.ndarray, max_pixels: int | None = None) -> MediaBlock:
        """Convert a still (H, W, 3) uint8 to text and tensors."""
        block = self.video(Footage(frame[None], np.zeros(1), 0.0), max_pixels)
        return replace(block, seconds=(), notes=(*block.notes, "a still goes in as a video of one frame"))

    def pads(self) -> tuple[str, ...]:
        """Further tokens that stand for visual tokens in the prompt, beside the two placeholders."""
        return ()

    def opened(self, text: str) -> str:
        """The whole prompt with what the family's processor puts before it."""
        return text

    def flags(self, ids: Tensor) -> dict[str, Tensor]:
        """Further arguments of the forward pass that follow from the prompt's token ids (1, L)."""
        return {}

    def positions(self, model: Any, inputs: Mapping[str, Tensor], blocks: Sequence[MediaBlock]) -> Tensor | None:
        """Position ids of the prompt (n, 1, L) for models that count frames in them; None leaves them to the model."""
        return None

    def join(self, name: str, values: Sequence[Tensor]) -> Tensor:
        """Join one argument of the forward pass over all blocks of a prompt; raises ConfigError if shapes differ."""
        shapes = [tuple(value.shape[1:]) for value in values]
        if len(set(shapes)) > 1:
            raise ConfigError(
                f"models of type {self.files.config.model_type!r} read several videos in one prompt only with the same number "
                f"of frames, got {name} of shapes {', '.join(map(str, shapes))}; give num_frames"
            )
        return torch.cat(list(values))

    # -- shared parts --------------------------------------------------------------------------------------------

    def token_id(self, text: str) -> int:
        """The id of a placeholder token; raises CheckpointError if it is no single token."""
        number = self.files.tokenizer.convert_tokens_to_ids(text)
        if number is None or number == self.files.tokenizer.unk_token_id:
            raise CheckpointError(
                f"the tokenizer of {self.files.folder} has no token {text!r}, which marks frames; fetch its files again"
            )
        return int(number)

    def special(self, name: str, default: str) -> str:
        """A special token that the tokenizer names (`image_token`, …), as text."""
        value = getattr(self.files.tokenizer, name, None)
        return value if isinstance(value, str) else default

    def fixed_size(self, frames: np.ndarray) -> Tensor:
        """Frames (T, H, W, 3) → (T, 3, height, width) by the settings `size` and `crop_size`, normalized."""
        settings, values = self.pixels, to_channels_first(frames)
        if settings.more.get("do_resize") is not False:
            if "height" in settings.size:
                values = resize(values, settings.size["height"], settings.size["width"], settings.resample)
            elif "shortest_edge" in settings.size:
                values = resize_short_side(values, settings.size["shortest_edge"], settings.resample)
            else:
                raise CheckpointError(f"{self.files.folder} has preprocessing settings without a size for frames")
        if settings.crop_size is not None:
            crop = settings.crop_size
            side = crop.get("shortest_edge", 0)
            values = center_crop(values, crop.get("height", side), crop.get("width", side))
        return normalize(values, settings)

    def still(self, frame: np.ndarray, **options: Any) -> dict[str, Any]:
        """Prepare a still with the family's image processor for Pillow."""
        if self._stills is None:
            self._stills = image_processor_class(self.image_class).from_dict(dict(self.files.image))
        return dict(self._stills(Image.fromarray(frame), return_tensors="pt", **options))

    def refuse_budget(self, max_pixels: int | None) -> None:
        """Raise ConfigError for a pixel budget where frames have one size."""
        if max_pixels is not None and not self.has_budget:
            raise ConfigError(
                f"max_pixels has no effect on models of type {self.files.config.model_type!r}, whose frames have one "
                "size; use fewer frames instead"
            )


def image_processor_class(name: str) -> Any:
    """A class of transformers; raises ConfigError if the installed version lacks it."""
    result = getattr(transformers, name, None)
    if result is None:
        raise ConfigError(f"transformers {transformers.__version__} has no {name}; upgrade transformers")
    return result


def repeated(footage: Footage, temporal_patch: int) -> Footage:
    """Chosen frames, each repeated to fill a temporal patch; dense footage keeps its pairing."""
    if footage.is_dense or temporal_patch == 1:
        return footage
    return Footage(
        np.repeat(footage.frames, temporal_patch, axis=0),
        np.repeat(footage.seconds, temporal_patch),
        footage.duration_seconds,
    )


def step_seconds(seconds: np.ndarray, temporal_patch: int) -> np.ndarray:
    """Times of frames (T,) → (steps, temporal_patch), the last time repeated until the steps are whole."""
    padding = -len(seconds) % temporal_patch
    return np.concatenate([seconds, np.repeat(seconds[-1:], padding)]).reshape(-1, temporal_patch)


def type_ids(ids: Tensor, image: int, video: int) -> Tensor:
    """`mm_token_type_ids`: 1 for image tokens, 2 for video tokens, else 0."""
    return torch.where(ids == image, 1, 0) + torch.where(ids == video, 2, 0)
