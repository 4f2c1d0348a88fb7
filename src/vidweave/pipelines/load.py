"""`vidweave.load`: load a model by name, folder or hub id, ready to answer questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vidweave.loading import check_dtype, usable_device
from vidweave.model.files import read_model_type
from vidweave.model.load import find_folder
from vidweave.model.names import find_model
from vidweave.pipelines.slot import SlotPipeline
from vidweave.registry import PIPELINES

__all__ = ["load"]


def load(
    name: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    device_map: Any = None,
    quantization_config: Any = None,
    cache_folder: str | Path | None = None,
    adapter: str | Path | None = None,
) -> SlotPipeline:
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

    Raises:
        UnknownNameError: there is no model, device or dtype of that name; lists near matches.
        ConfigError: a device that this machine does not have, or a quantization that cannot be limited to the language
            model.
        MissingExtraError: `device_map` without accelerate, `quantization_config` without its library.
        CheckpointError: a folder without a model that vidweave can load, or whose weights do not fit.
    """
    find_model(name)  # report a wrong name before a device is used
    place = None if device is None else usable_device(device)
    if isinstance(dtype, str):
        check_dtype(dtype)
    folder = find_folder(name)
    held = read_model_type(folder)
    read = PIPELINES.get(held) if held in PIPELINES else SlotPipeline.load  # raises for unknown kinds
    weights = {"dtype": dtype, "device_map": device_map, "quantization_config": quantization_config}
    more = {} if adapter is None else {"adapter": adapter}
    return read(name, folder=folder, device=place, cache_folder=cache_folder, **more, **weights)
