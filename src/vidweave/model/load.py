"""`vidweave.load`: a model by name, folder or hub id, ready to be asked."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from vidweave.errors import CheckpointError, MissingExtraError, UnknownNameError
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import VideoLanguageConfig
from vidweave.model.files import locate, read_model_type
from vidweave.registry import CHECKPOINT_FORMATS, MODELS, Entry

__all__ = ["find_folder", "load"]


def load(
    name: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    device_map: Any = None,
    cache_folder: str | Path | None = None,
) -> VideoLanguageModel:
    """Load a model with its processor, in evaluation mode.

    Args:
        name: A registered name (`vidweave models list`), a folder, or a hub id. Folders that transformers wrote for
            BLIP-2 and InstructBLIP load as they are.
        device: Where to put it; None stays on the CPU (or follows `device_map`).
        dtype: e.g. torch.bfloat16 or "bfloat16"; None is float32 on the CPU, and the checkpoint's own elsewhere.
        device_map: As in transformers (needs accelerate).
        cache_folder: Keep features of the encoders there, which are then frozen; None recomputes them.

    Raises:
        UnknownNameError: nothing goes by that name; lists near matches.
        MissingExtraError: `device_map` without accelerate.
        CheckpointError: a folder that holds no model that vidweave knows, or whose weights do not fit.
    """
    if device_map is not None and find_spec("accelerate") is None:
        raise MissingExtraError("accelerate", "large", "device_map")
    folder = find_folder(name)
    held = read_model_type(folder)
    dtype = _dtype(dtype, device, device_map)
    loader = MODELS.entry(str(name)).facts.get("loader") if str(name) in MODELS else None
    if loader is not None:  # weights of one model under the configuration of another
        model = Entry(str(name), loader).load()(folder, MODELS.get(str(name))(), dtype=dtype, device_map=device_map)
    elif held == VideoLanguageConfig.model_type:
        model = VideoLanguageModel.from_pretrained(folder, dtype=dtype, device_map=device_map)
    elif held in CHECKPOINT_FORMATS:
        model = CHECKPOINT_FORMATS.get(held)(folder, dtype=dtype, device_map=device_map)
    else:
        known = ", ".join(["vidweave", *CHECKPOINT_FORMATS])
        raise CheckpointError(f"{folder} holds a {held!r} model; vidweave reads folders of: {known}")
    if device is not None:
        model.to(device)  # type: ignore[arg-type]  # transformers' wrapper of `to` loses its signature
    if cache_folder is not None:  # whoever loads a model to use its features again does not train its encoders
        model.encoders.requires_grad_(False)
    model.use_cache_folder(cache_folder)
    return model.eval()


def find_folder(name: str | Path) -> Path:
    """The folder behind a registered name, a path or a hub id; raises as `load`."""
    if str(name) in MODELS:
        facts = MODELS.entry(str(name)).facts
        if "weights" not in facts:
            raise CheckpointError(
                f"{str(name)!r} is a configuration whose weights no hub has in our layout; {facts['get']}"
            )
        return locate(facts["weights"])
    if Path(name).is_dir():
        return Path(name)
    if str(name).count("/") == 1 and not str(name).startswith((".", "/")) and not Path(name).parent.is_dir():
        return locate(name)
    if Path(name).exists() or str(name).count("/"):
        raise CheckpointError(f"{str(name)!r} is not a folder with a model; give the folder that holds config.json")
    raise UnknownNameError("model", str(name), MODELS, "(a local folder or a hub id owner/name works too)")


def _dtype(dtype: torch.dtype | str | None, device: Any, device_map: Any) -> Any:
    if isinstance(dtype, str) and dtype != "auto":
        found = getattr(torch, dtype, None)
        if not isinstance(found, torch.dtype):
            raise UnknownNameError("dtype", dtype, ["float32", "float16", "bfloat16", "auto"])
        return found
    if dtype is None:
        on_cpu = device_map is None and torch.device(device or "cpu").type == "cpu"
        return torch.float32 if on_cpu else "auto"
    return dtype
