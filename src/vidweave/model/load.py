"""Models of our slots by name, folder or hub id."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from vidweave.errors import CheckpointError, MissingExtraError
from vidweave.loading import check_dtype, quiet_loading, usable_device
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import VideoLanguageConfig
from vidweave.model.files import read_model_type
from vidweave.model.look_first import locate_model
from vidweave.model.names import find_model
from vidweave.registration import import_object
from vidweave.registry import CHECKPOINT_FORMATS, MODELS

__all__ = ["find_folder", "load_model", "weights_dtype"]


def load_model(
    name: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    device_map: Any = None,
    quantization_config: Any = None,
    folder: Path | None = None,
) -> VideoLanguageModel:
    """Load a model with its processor, in evaluation mode.

    Args:
        name: A registered name (`vidweave models list`), a folder, or a hub id. Folders that transformers wrote for
            BLIP-2 and InstructBLIP load as they are.
        device: Where to put it; None stays on the CPU (or follows `device_map`).
        dtype: e.g. torch.bfloat16 or "bfloat16"; None is float32 on the CPU, and the checkpoint's own elsewhere.
        device_map: As in transformers (needs accelerate).
        quantization_config: As in transformers (TorchAoConfig, BitsAndBytesConfig, or the same as a dict); it quantizes
            the language model alone.
        folder: Result of `find_folder` for `name`, if it was called already.

    Raises:
        UnknownNameError: there is no model, device or dtype of that name; lists near matches.
        ConfigError: a device that this machine does not have, or a quantization that cannot be limited to the language
            model.
        MissingExtraError: `device_map` without accelerate, `quantization_config` without its library.
        CheckpointError: a folder without a model that vidweave can load, or whose weights do not fit.
    """
    if device_map is not None and find_spec("accelerate") is None:
        raise MissingExtraError("accelerate", "large", "device_map")
    find_model(name)  # report a wrong name before a device is used
    place = None if device is None else usable_device(device)
    dtype = weights_dtype(dtype, place, device_map)
    folder = find_folder(name) if folder is None else folder
    with quiet_loading():
        quantized = {} if quantization_config is None else {"quantization_config": quantization_config}
        model = _read(str(name), folder, dtype=dtype, device_map=device_map, **quantized)
    if place is not None:
        model.to(place)  # type: ignore[arg-type]  # transformers' wrapper of `to` loses its signature
    return model.eval()


def find_folder(name: str | Path) -> Path:
    """Find the folder of a registered name, a path or a hub id, which is downloaded; raises as `load`."""
    return locate_model(find_model(name))


def _read(name: str, folder: Path, **options: Any) -> VideoLanguageModel:
    """Load the model of a folder with the loader of its kind."""
    held = read_model_type(folder)
    loader = MODELS.entry(name).facts.loader if name in MODELS else ""
    if loader:  # weights of one model under the configuration of another
        return import_object(loader)(folder, MODELS.get(name)(), **options)
    if held == VideoLanguageConfig.model_type:
        return VideoLanguageModel.from_pretrained(folder, **options)
    if held in CHECKPOINT_FORMATS:
        return CHECKPOINT_FORMATS.get(held)(folder, **options)
    known = ", ".join(["vidweave", *CHECKPOINT_FORMATS])
    raise CheckpointError(f"{folder} holds a {held!r} model; vidweave reads folders of: {known}")


def weights_dtype(dtype: torch.dtype | str | None, device: torch.device | None, device_map: Any) -> Any:
    """The dtype to load weights in: as requested, else float32 on the CPU and the checkpoint's own ("auto") elsewhere."""
    if isinstance(dtype, str):
        return dtype if dtype == "auto" else getattr(torch, check_dtype(dtype, also=("auto",)))
    if dtype is None:
        on_cpu = device_map is None and (device is None or device.type == "cpu")
        return torch.float32 if on_cpu else "auto"
    return dtype
