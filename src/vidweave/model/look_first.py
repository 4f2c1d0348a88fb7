"""A model on the hub: config.json is read first, weights are fetched only for a supported model, and their size is shown."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from fnmatch import fnmatch
from pathlib import Path

from vidweave.errors import CheckpointError
from vidweave.model.assets import asset_folder
from vidweave.model.files import DOWNLOADED, locate, reaching, read_model_type
from vidweave.registry import CHECKPOINT_FORMATS, VLM_FAMILIES

__all__ = ["is_vision_language", "locate_model", "locate_part", "refuse_kind"]

_log = logging.getLogger(__name__)
_PICKLED = ("pytorch_model*.bin", "pytorch_model.bin.index.json")


def locate_model(source: str | Path) -> Path:
    """The folder of a model from a path, the name of a shipped asset, or a hub id.

    Of a hub id, config.json alone is fetched first: of a model that vidweave does not read, nothing else is downloaded.

    Raises:
        CheckpointError: nothing is there, the hub cannot be reached, or a model of a kind that vidweave does not read.
    """
    name = str(source)
    if not _is_on_hub(source):
        return locate(source)
    folder = _config_folder(name)
    held = read_model_type(folder)
    if not is_vision_language(held):
        refuse_kind(repr(name), held, ["vidweave", *CHECKPOINT_FORMATS])
    return locate(name, pickled=_announced(name))


def locate_part(source: str | Path, check: Callable[[Path], object]) -> Path:
    """The folder of a part of a model, from a path, the name of a shipped asset, or a hub id.

    Args:
        check: Raises for a config.json that it does not take; of a hub id, nothing else is downloaded then.

    Raises:
        CheckpointError: nothing is there, or the hub cannot be reached.
    """
    name = str(source)
    if not _is_on_hub(source):
        folder = locate(source)
        check(folder)
        return folder
    check(_config_folder(name))
    return locate(name, pickled=_announced(name))


def _is_on_hub(source: str | Path) -> bool:
    name = str(source)
    is_id = isinstance(source, str) and name.count("/") == 1 and not name.startswith((".", "/"))
    return is_id and not Path(source).is_dir() and asset_folder(name) is None


def is_vision_language(model_type: str) -> bool:
    """Whether a folder of this kind holds a whole vision-language model that transformers has, or a family of ours names."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    return model_type in VLM_FAMILIES or model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


def refuse_kind(where: str, held: str, known: Collection[str]) -> None:
    """Raise CheckpointError unless vidweave reads models of the kind `held`."""
    if held not in known:
        raise CheckpointError(f"{where} holds a {held!r} model; vidweave reads folders of: {', '.join(known)}")


def _config_folder(repo_id: str) -> Path:
    """A folder of the cache that holds config.json of a hub id, if nothing else."""
    from huggingface_hub import hf_hub_download

    with reaching(repo_id):
        return Path(hf_hub_download(repo_id, "config.json")).parent


def _announced(repo_id: str) -> tuple[str, ...]:
    """Say what the download comes to; patterns of pickled weights, where the repository has no others."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        files = HfApi().model_info(repo_id, files_metadata=True).siblings or []
    except (OSError, OfflineModeIsEnabled):  # what is in the cache already is used without a network
        return ()
    names = [file.rfilename for file in files]
    pickled = () if any(name.endswith(".safetensors") for name in names) else _PICKLED
    sizes = {f.rfilename: f.size or 0 for f in files if _is_wanted(f.rfilename, (*DOWNLOADED, *pickled))}
    if sizes:
        largest = max(sizes, key=lambda name: sizes[name])
        _log.info(
            "%s: %d files, %s (largest: %s, %s); what the cache holds is not fetched again",
            repo_id,
            len(sizes),
            _gigabytes(sum(sizes.values())),
            largest,
            _gigabytes(sizes[largest]),
        )
    return pickled


def _is_wanted(name: str, patterns: Collection[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
