"""`vidweave.load`: load a model by name, folder or hub id, ready to answer questions."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

import torch

from vidweave.errors import ConfigError
from vidweave.loading import check_dtype, usable_device
from vidweave.model.files import read_model_type
from vidweave.model.load import find_folder
from vidweave.model.look_first import is_vision_language
from vidweave.model.names import find_model
from vidweave.pipelines.frame_selection.check import check_frame_selector
from vidweave.pipelines.slot import SlotPipeline
from vidweave.pipelines.vlm.pipeline import VlmPipeline
from vidweave.registry import CHECKPOINT_FORMATS, PIPELINES
from vidweave.types import FrameSelector, Pipeline

__all__ = ["load", "require_slots"]


def load(
    name: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    device_map: Any = None,
    quantization_config: Any = None,
    cache_folder: str | Path | None = None,
    adapter: str | Path | None = None,
    selector: str | FrameSelector | None = None,
    **settings: Any,
) -> SlotPipeline | VlmPipeline:
    """Load a model with its processor, in evaluation mode.

    Args:
        name: A registered name (`vidweave models list`), a folder, or a hub id. Folders that transformers wrote for
            BLIP-2 and InstructBLIP load as they are.
        device: Device of the model; None is the CPU (or `device_map`).
        dtype: e.g. torch.bfloat16 or "bfloat16"; None is float32 on the CPU, and the checkpoint's own elsewhere.
        device_map: As in transformers (needs accelerate).
        quantization_config: As in transformers (TorchAoConfig, BitsAndBytesConfig, or the same as a dict); it quantizes
            the language model alone.
        adapter: Folder of a LoRA adapter for the language model, as PEFT and `vidweave train finetune stage=lora` write it.
        cache_folder: Keep features of the encoders there, which are then frozen; None recomputes them.
        selector: Chooses the frames of videos: `uniform`, or `similarity:MODEL` or `ground:MODEL` with the folder or hub id
            of a dual encoder (CLIP, SigLIP), or any `types.FrameSelector`; None leaves that to the model.
        settings: Of the kind of pipeline; those of whole vision-language models are `num_frames`, `max_pixels`, `times` and
            `choices` (`VlmPipeline.load`).

    Raises:
        UnknownNameError: there is no model, device or dtype of that name; lists near matches.
        ConfigError: a device that this machine does not have, a quantization that cannot be limited to the language model,
            or settings that this kind of model does not take.
        MissingExtraError: `device_map` without accelerate, `quantization_config` without its library.
        CheckpointError: a folder without a model that vidweave can load, or whose weights do not fit.
    """
    find_model(name)  # report a wrong name before a device is used
    if isinstance(selector, str):
        check_frame_selector(selector)
    place = None if device is None else usable_device(device)
    if isinstance(dtype, str):
        check_dtype(dtype)
    folder = find_folder(name)
    held = read_model_type(folder)
    read = _reader(held)
    weights = {"dtype": dtype, "device_map": device_map, "quantization_config": quantization_config}
    if selector is not None:
        settings["selector"] = selector
    if unknown := [setting for setting in settings if setting not in signature(read).parameters]:
        raise ConfigError(f"models of type {held!r} take no setting {', '.join(unknown)}; leave it out")
    if adapter is not None:
        if read == VlmPipeline.load:
            raise ConfigError(
                f"an adapter belongs to the language model of a model of slots; merge it into the {held!r} model with PEFT first"
            )
        settings["adapter"] = adapter
    return read(name, folder=folder, device=place, cache_folder=cache_folder, **weights, **settings)


def require_slots(pipe: Pipeline, purpose: str) -> SlotPipeline:
    """Return `pipe` if it is a model of vidweave's slots; else raise ConfigError: `purpose` needs one."""
    if isinstance(pipe, SlotPipeline):
        return pipe
    raise ConfigError(
        f"{purpose} needs a model of vidweave's slots, got {type(pipe).__name__} {pipe.config.name!r}; see `vidweave models list`"
    )


def _reader(model_type: str) -> Any:
    """The function that loads models of this kind; that of our own models raises for unknown kinds."""
    if model_type in PIPELINES:
        return PIPELINES.get(model_type)
    if model_type not in CHECKPOINT_FORMATS and is_vision_language(model_type):
        return VlmPipeline.load
    return SlotPipeline.load
