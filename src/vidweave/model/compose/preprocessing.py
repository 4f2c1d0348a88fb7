"""A vision tower's own preprocessor_config.json as a `VisualSpec`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from vidweave.errors import CheckpointError
from vidweave.model.files import read_json
from vidweave.types import VisualSpec

__all__ = ["FILES", "visual_spec"]

FILES = ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json")
_INNER = (
    "image_processor",
    "video_processor",
)  # where processor_config.json holds what the other files hold at the top
_INTERPOLATION: dict[int, Literal["nearest", "bilinear", "bicubic"]] = {0: "nearest", 2: "bilinear", 3: "bicubic"}


def visual_spec(folder: Path) -> VisualSpec:
    """What the processor of a tower does to a frame: resize, crop, rescale and normalize.

    A field that the file leaves out has the default of the processor class that the file names.

    Raises:
        CheckpointError: no such file, or a step that a `VisualSpec` cannot say.
    """
    data = _read(folder)
    fields = _Fields(data, folder)
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if fields.get("do_normalize", True):
        mean, std = (fields.triple(name) for name in ("image_mean", "image_std"))
    scale = float(fields.get("rescale_factor", 1 / 255)) if fields.get("do_rescale", True) else 1.0
    if fields.get("offset", False):  # ViViT's processor subtracts 1 after it has rescaled
        mean = tuple(value + 1 for value in mean)
    options: Any = {**fields.sizes(), "mean": mean, "std": std, "scale": scale}
    return VisualSpec(**options, resampler="pillow", crop_rounding="down")


def _read(folder: Path) -> dict[str, Any]:
    for name in FILES:
        if not (folder / name).is_file():
            continue
        data = read_json(folder / name)
        inner = next((data[key] for key in _INNER if isinstance(data.get(key), Mapping)), None)
        data = data if inner is None else dict(inner)
        if {"image_mean", "size", "image_processor_type", "video_processor_type", "feature_extractor_type"} & set(data):
            return data
    raise CheckpointError(
        f"{folder} has no preprocessor_config.json, which says how frames are resized and normalized; copy it from the "
        "model's repository"
    )


class _Fields:
    """Fields of the file, and behind them the defaults of its class."""

    def __init__(self, data: Mapping[str, Any], folder: Path) -> None:
        import transformers

        self.data, self.folder = data, folder
        keys = ("image_processor_type", "video_processor_type", "feature_extractor_type")
        name = next((str(data[key]) for key in keys if data.get(key)), "")
        name = name.removesuffix("Fast").replace("FeatureExtractor", "ImageProcessor")
        self.cls: Any = getattr(transformers, f"{name}Pil", None) if name.isidentifier() else None

    def get(self, name: str, default: Any = None) -> Any:
        value = self.data.get(name)
        if value is None:
            value = getattr(self.cls, name, None)
        return default if value is None else value

    def triple(self, name: str) -> tuple[float, ...]:
        value = self.get(name)
        if not isinstance(value, (list, tuple)) or len(value) != 3:
            raise CheckpointError(f"{name} in the preprocessor of {self.folder} must be three numbers, got {value!r}")
        return tuple(float(v) for v in value)

    def sizes(self) -> dict[str, Any]:
        """Size, way of resizing and interpolation, as fields of `VisualSpec`."""
        crop = self._size("crop_size") if self.get("do_center_crop", False) else None
        if not self.get("do_resize", True):
            return {**self._square(crop or self._size("size")), "resize": "none"}
        size = self._size("size")
        options = self._interpolation()
        if set(size) == {"height", "width"}:
            if crop is not None and crop != size:
                raise self._refused(f"resizing to {size} and then cutting out {crop}")
            return {**self._square(size), "resize": "squash", "interpolation": options}
        if set(size) != {"shortest_edge"}:
            raise self._refused(f"size {size}")
        short = int(size["shortest_edge"])
        percent = self.get("crop_pct")
        if percent and short < 384:  # ConvNeXt's processor: a larger image, then the middle
            crop, short = {"height": short, "width": short}, int(short / percent)
        elif percent:
            return {"height": short, "width": short, "resize": "squash", "interpolation": options}
        if crop is None:
            raise self._refused(f"size {size} without a crop, which leaves frames of any shape")
        square = self._square(crop)
        beyond = {} if short == max(square.values()) else {"short_side": short}
        return {**square, "resize": "crop", "interpolation": options, **beyond}

    def _interpolation(self) -> str:
        number = int(self.get("resample", 2))
        if number not in _INTERPOLATION:
            raise self._refused(f"resample={number}")
        return _INTERPOLATION[number]

    def _size(self, name: str) -> dict[str, int]:
        value = self.get(name)
        if isinstance(value, int):  # older files: the side of a square, or for some classes the short side
            is_square = name == "crop_size" or getattr(self.cls, "default_to_square", True)
            return {"height": value, "width": value} if is_square else {"shortest_edge": value}
        if not isinstance(value, Mapping):
            raise self._refused(f"{name}={value!r}")
        return {key: int(number) for key, number in value.items() if number is not None}

    def _square(self, size: Mapping[str, int]) -> dict[str, int]:
        if set(size) != {"height", "width"}:
            raise self._refused(f"size {dict(size)}")
        return {"height": size["height"], "width": size["width"]}

    def _refused(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"the preprocessor of {self.folder} asks for {what}, which vidweave does not do; set size to a height and a "
            "width in its preprocessor_config.json"
        )
