"""Open a model folder without building the model: its configuration, weights that are read one by one, and processor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vidweave.errors import CheckpointError
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.bases import add_bases
from vidweave.model.config import VideoLanguageConfig
from vidweave.model.files import read_model_type, weight_files
from vidweave.model.load import find_folder
from vidweave.model.processor import Processor
from vidweave.model.sharded import LazyTensor, read_lazily
from vidweave.model.swap import current
from vidweave.registration import import_object
from vidweave.registry import CHECKPOINT_FORMATS

__all__ = ["StoredModel", "open_model"]


@dataclass(frozen=True)
class StoredModel:
    """A model as it is stored.

    Attributes:
        name: The requested name.
        files: That its weights are read from.
        state: Our names → weights.
        processor: None where the folder has no tokenizer.
    """

    name: str
    files: tuple[Path, ...]
    config: VideoLanguageConfig
    state: Mapping[str, Tensor | LazyTensor]
    processor: Processor | None = None


def open_model(name: str | Path) -> StoredModel:
    """Open the stored model that `vidweave.load` would load.

    Raises:
        UnknownNameError: nothing has that name.
        CheckpointError: a folder without a model that vidweave can load, or a base that has changed.
    """
    folder = find_folder(name)
    held = read_model_type(folder)
    if held == VideoLanguageConfig.model_type:
        config = VideoLanguageConfig.from_folder(folder)
        state = _own_state(folder, config)
        has_processor = (current(folder) / "processor_config.json").is_file()
        processor = Processor.from_pretrained(folder, config) if has_processor else None
    elif held in CHECKPOINT_FORMATS:
        config, state, processor = import_object(CHECKPOINT_FORMATS.entry(held).facts.open)(folder)
    else:
        known = ", ".join([VideoLanguageConfig.model_type, *CHECKPOINT_FORMATS])
        raise CheckpointError(f"{folder} holds a {held!r} model; vidweave reads folders of: {known}")
    return StoredModel(str(name), tuple(weight_files(folder)), config, state, processor)


def _own_state(folder: Path, config: VideoLanguageConfig) -> dict[str, Tensor | LazyTensor]:
    state = read_lazily(folder)
    if not config.bases:
        return dict(state)
    with torch.device("meta"):
        skeleton = VideoLanguageModel(config)
    return add_bases(state, config.bases, skeleton, folder)
