"""Checks before saving: the same model must load from the folder."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vidweave.errors import CheckpointError, ConfigError, VidweaveError
from vidweave.model.config import VideoLanguageConfig
from vidweave.model.files import check_keys, listed
from vidweave.model.swap import PROCESSOR_FILES
from vidweave.types import Configured, config_to_dict

__all__ = ["built_config", "check_loads", "check_options", "keeps_processor"]

# Settings of transformers' `save_pretrained` → what to do instead.
_REFUSED = {
    "variant": "save into a folder of its own; files of a variant are not read back",
    "distributed_checkpoint": "leave it out; such a folder is not read back",
    "push_to_hub": "call model.push_to_hub(...) after saving, which sends the processor too",
}


def check_options(options: Mapping[str, Any]) -> None:
    """Raise ConfigError for settings that would write a folder which does not load."""
    for name, advice in _REFUSED.items():
        if options.get(name):
            raise ConfigError(f"save_pretrained does not take {name}={options[name]!r}; {advice}")


def built_config(
    config: VideoLanguageConfig, language_model: nn.Module, decoding: Mapping[str, Any]
) -> VideoLanguageConfig:
    """The configuration of a model as it is now: its language model's with adapters, `decoding`, and no bases."""
    built = copy.deepcopy(config)
    built.bases = {}
    built.spec["decoding"] = dict(decoding)
    if isinstance(language_model, Configured) and is_dataclass(language_model.config):
        built.spec["language_model"] = config_to_dict(language_model.config)
    return built


def check_loads(state: Mapping[str, Tensor], skeleton: nn.Module) -> None:
    """Check that a model built from the configuration takes exactly these tensors.

    Args:
        state: All tensors that are to be saved, tied ones too.
        skeleton: The model of the configuration, on any device.

    Raises:
        CheckpointError: other names or shapes (something was attached to the model, or resized), or tied tensors that
            have become different.
    """
    tied: Mapping[str, str] = getattr(skeleton, "all_tied_weights_keys", {})
    try:
        check_keys("the state dict", skeleton.state_dict(), state, tied=tied)
    except CheckpointError as error:
        raise CheckpointError(
            f"nothing was saved, since it would not load again ({error}); undo what was attached to the model or resized"
        ) from error
    pairs = [(target, source) for target, source in tied.items() if target in state and source in state]
    parted = sorted(target for target, source in pairs if not _are_one(state[target], state[source]))
    if parted:
        raise CheckpointError(
            f"nothing was saved, since it would not load again: {listed('tied weights with values of their own', parted, 3)}; "
            "set tie_word_embeddings to False in the language model's configuration, or tie them again"
        )


def _are_one(one: Tensor, other: Tensor) -> bool:
    return one.data_ptr() == other.data_ptr() or torch.equal(one, other)


def keeps_processor(folder: Path, config: VideoLanguageConfig) -> Callable[[str], bool]:
    """Names of files in `folder` that a model of `config` without a processor keeps: those of a processor, unless it belongs
    to another model."""
    try:
        is_its_own = (
            not (folder / "config.json").exists() or VideoLanguageConfig.from_folder(folder).spec == config.spec
        )
    except VidweaveError:
        is_its_own = False
    return lambda name: is_its_own and name in PROCESSOR_FILES
