"""A dual encoder with its preprocessing and tokenizer, from a folder or the hub."""

# Axes: T frames, D width of the shared space

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Any

from torch import Tensor

from vidweave.encoders.dual_encoder import DUAL_FAMILIES, DualEncoder, dual_config
from vidweave.errors import CheckpointError, ModelNotFoundError, QueryError
from vidweave.language.tokenizer import load_tokenizer
from vidweave.loading import quiet_loading, usable_device
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.media.preprocess import apply
from vidweave.media.store import store_key
from vidweave.model.assets import asset_folder
from vidweave.model.cache import module_fingerprint
from vidweave.model.compose.preprocessing import visual_spec
from vidweave.model.files import listed, read_json, read_weights
from vidweave.model.look_first import locate_part
from vidweave.nn.config_guard import without_remote_code
from vidweave.types import Frames, VisualSpec, config_to_dict

__all__ = ["FrameTextModel"]

MAX_PATCHES = 256  # of a frame, unless the preprocessor of a SigLIP 2 NaFlex folder says otherwise


class FrameTextModel:
    """Embed frames and texts with a dual encoder of transformers (CLIP, SigLIP, SigLIP 2).

    Threads may share one.

    Args:
        source: Folder, shipped asset or hub id. Code from it is never run.
        device: None is the CPU.

    Raises:
        ModelNotFoundError, CheckpointError: nothing is there, a file is missing, or weights do not fit.
        ConfigError: a model of another kind.
    """

    def __init__(self, source: str | Path, *, device: Any = None) -> None:
        self.source = str(source)
        self.folder = _folder(source)
        config = _config(self.folder)
        self._tokenizer = load_tokenizer(self.folder)
        self._lock = RLock()  # a tokenizer is set up for each call, so only one thread may use it at a time
        self._spec = _spec(self.folder, config)
        with quiet_loading():
            self.encoder = DualEncoder(_load(self.folder, config))
        if device is not None:
            self.encoder.to(usable_device(device))

    @cached_property
    def fingerprint(self) -> str:
        """Identifies weights and preprocessing, for keys of stored features."""
        return store_key(weights=module_fingerprint(self.encoder), preprocess=config_to_dict(self._spec))

    def embed_frames(self, frames: Frames, limits: Limits = DEFAULT_LIMITS) -> Tensor:
        """Frames → (T, D) of unit length, float32 on the CPU."""
        pixels, _ = apply(self._spec_for(frames), frames, limits=limits)
        return self.encoder.encode_frames(pixels).cpu()

    def embed_text(self, text: str) -> Tensor:
        """Text → (D,) of unit length, float32 on the CPU.

        Raises:
            QueryError: more tokens than the text tower takes.
        """
        most = self.encoder.max_tokens
        with self._lock:
            ids = self._tokenizer(text)["input_ids"]
            if len(ids) > most:
                raise QueryError(
                    f"the question has {len(ids)} tokens, the text encoder of {self.source!r} takes at most {most}; shorten "
                    "it, or use another selector"
                )
            padding = {"padding": "max_length", "max_length": most} if self.encoder.family.pads_text else {}
            inputs = self._tokenizer(text, return_tensors="pt", return_attention_mask=True, **padding)
        return self.encoder.encode_texts(inputs["input_ids"], inputs["attention_mask"])[0].cpu()

    def _spec_for(self, frames: Frames) -> VisualSpec:
        """The preprocessing; of a SigLIP 2 NaFlex model, for frames of this shape."""
        if not self.encoder.family.takes_patches:
            return self._spec
        height, width = frames.values.shape[1:3]
        most = self._spec.height // self.encoder.patch_size * (self._spec.width // self.encoder.patch_size)
        rows, columns = _grid(height, width, most)
        side = self.encoder.patch_size
        return VisualSpec(
            height=rows * side,
            width=columns * side,
            interpolation=self._spec.interpolation,
            mean=self._spec.mean,
            std=self._spec.std,
            scale=self._spec.scale,
            resampler="pillow",
        )


def _grid(height: int, width: int, most: int) -> tuple[int, int]:
    """The largest grid of at most `most` patches with the shape of the frame."""
    low, high = 0.0, float(most)
    for _ in range(60):  # bisection on patches per pixel of the longer side
        middle = (low + high) / 2
        rows, columns = (max(1, math.ceil(middle * side / max(height, width))) for side in (height, width))
        low, high = (middle, high) if rows * columns <= most else (low, middle)
    rows, columns = (max(1, math.ceil(low * side / max(height, width))) for side in (height, width))
    return rows, columns


def _folder(source: str | Path) -> Path:
    name = str(source)
    looks_like_id = name.count("/") == 1 and not name.startswith((".", "/", "~"))
    if not Path(source).is_dir() and not looks_like_id and asset_folder(name) is None:
        raise ModelNotFoundError(f"{name!r} is neither a folder, nor a shipped asset, nor a hub id (owner/name)")
    return locate_part(source, _config)


def _config(folder: Path) -> Any:
    """Configuration of a dual encoder; raises for any other model."""
    where = f"config.json of {folder}"
    return dual_config(without_remote_code(read_json(folder / "config.json"), where))


def _spec(folder: Path, config: Any) -> VisualSpec:
    if not DUAL_FAMILIES[config.model_type].takes_patches:
        return visual_spec(folder)
    data = read_json(folder / "preprocessor_config.json")
    most, side = int(data.get("max_num_patches", MAX_PATCHES)), int(config.vision_config.patch_size)
    mean, std = (tuple(float(v) for v in data.get(name, (0.5,) * 3)) for name in ("image_mean", "image_std"))
    if len(mean) != 3 or len(std) != 3 or most < 1:
        raise CheckpointError(
            f"the preprocessor of {folder} needs three numbers of mean and std, and max_num_patches > 0"
        )
    rows = math.isqrt(most)
    return VisualSpec(
        height=rows * side,
        width=most // rows * side,
        interpolation="bilinear",
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
        resampler="pillow",
    )


def _load(folder: Path, config: Any) -> Any:
    """The transformers model with all of its weights, in float32.

    Raises:
        CheckpointError: weights that are missing, of another shape, or of no part of the model.
    """
    import transformers

    cls = getattr(transformers, DUAL_FAMILIES[config.model_type].model)
    state = {name: tensor.float() for name, tensor in read_weights(folder).items() if not name.endswith("position_ids")}
    try:
        model, report = cls.from_pretrained(None, config=config, state_dict=state, output_loading_info=True)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"the weights of {folder} do not fit: {' '.join(str(error).split())[:300]}") from error
    problems = [
        listed("missing", sorted(report["missing_keys"]), 3),
        listed("unexpected", sorted(report["unexpected_keys"]), 3),
        listed("of another shape", sorted(map(str, report["mismatched_keys"])), 3),
    ]
    if any(problems):
        raise CheckpointError(
            f"the weights of {folder} do not fit its config.json: {'; '.join(p for p in problems if p)}; fetch it again"
        )
    return model
