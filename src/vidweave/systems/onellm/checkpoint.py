"""OneLLM's released file as a model folder of ours: strict, with a report of every key.

`consolidated.00-of-01.pth` holds everything but the tokenizer. Of a sharded checkpoint (`consolidated.00-of-02.pth`, …) the
first file is named, and the others stand beside it: fairscale cut its matrices, by rows or by columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidweave.errors import CheckpointError, UnknownNameError
from vidweave.language.causal import CausalConfig
from vidweave.language.tokenizer import load_tokenizer
from vidweave.model.conversion import KeyReport, Request, Source, options_of, read_released, write_model
from vidweave.model.files import locate
from vidweave.model.processor import Processor
from vidweave.model.released import Checkpoint
from vidweave.model.sharded import LazyTensor
from vidweave.systems.onellm.keys import modalities_in, to_ours
from vidweave.systems.onellm.preset import Sizes, build
from vidweave.systems.onellm.prompts import PROMPTS

__all__ = ["PARTS", "Settings", "convert", "shards_of"]

PARTS = ("tokenizer",)
_SHARD = re.compile(r"(?P<stem>.*\.)(?P<rank>\d\d)-of-(?P<count>\d\d)\.pth")
# Along which axis fairscale cuts a matrix; everything else is in every file.
_ROWS = re.compile(r"\.(wq|wk|wv|w1|w3)\.weight$|(^|\.)output\.weight$")
_COLUMNS = re.compile(r"\.(wo|w2)\.weight$|(^|\.)tok_embeddings\.weight$")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What OneLLM's file does not say; see `preset.build`.

    Attributes:
        prompt: One of `PROMPTS`.
        legacy_decoding: Decode as the released code does.
        legacy_media: Read points twice, as Contra4's script does.
    """

    prompt: str = "chat"
    legacy_decoding: bool = False
    legacy_media: bool = False


def convert(request: Request, *, sizes: Sizes | None = None) -> KeyReport:
    """Write the released file of `request` as a folder; the model has the modalities that the file holds.

    Args:
        sizes: Those of a file that is not the paper's.

    Raises:
        CheckpointError: keys that are missing, unknown or of another shape; shards that are missing or do not fit.
    """
    request.expect(parts=PARTS)
    settings = options_of(Settings, request)
    if settings.prompt not in PROMPTS:
        raise UnknownNameError("prompt of OneLLM", settings.prompt, PROMPTS)
    files = shards_of(request.file)
    checkpoints = [read_released(replace(request, file=file), "onellm") for file in files]
    state = _merged(checkpoints)
    modalities = modalities_in(state)
    if not modalities:
        raise CheckpointError(f"{request.file.name} holds no modality tokens: it is no file of OneLLM")
    sizes = sizes or Sizes()
    config = build(
        modalities,
        prompt=PROMPTS[settings.prompt],
        name=f"onellm-{settings.prompt}",
        sizes=sizes,
        legacy_decoding=settings.legacy_decoding,
        legacy_media=settings.legacy_media,
    )
    ours, dropped = to_ours(state, _num_heads(sizes))
    notes = tuple(note for checkpoint in checkpoints for note in checkpoint.notes)
    source = Source(request.file.name, ours, dropped, tuple(files), notes=notes)
    return write_model(request, config, source, processor=_processor(request, config), settings=settings)


def _num_heads(sizes: Sizes) -> int:
    return int(CausalConfig(config=dict(sizes.language)).transformers_config().num_attention_heads)


def shards_of(file: Path) -> list[Path]:
    """All files of the checkpoint that `file` belongs to, in order.

    Raises:
        CheckpointError: some of them are not there.
    """
    result = _SHARD.fullmatch(file.name)
    if result is None or int(result["count"]) < 2:
        return [file]
    count = int(result["count"])
    files = [file.with_name(f"{result['stem']}{rank:02d}-of-{count:02d}.pth") for rank in range(count)]
    missing = [shard.name for shard in files if not shard.exists()]
    if missing:
        raise CheckpointError(f"{file.name} is one of {count} files; {', '.join(missing)} is missing beside it")
    return files


def _merged(checkpoints: Sequence[Checkpoint]) -> Mapping[str, Any]:
    """One state of all shards; matrices that were cut are put together when they are written."""
    first, *others = (checkpoint.state for checkpoint in checkpoints)
    if not others:
        return first
    for checkpoint in checkpoints[1:]:
        if checkpoint.state.keys() != first.keys():
            odd = sorted(checkpoint.state.keys() ^ first.keys())
            raise CheckpointError(
                f"{checkpoint.name} and {checkpoints[0].name} differ in their keys: {', '.join(odd[:8])}"
            )
    return {key: _joined(key, [value, *(state[key] for state in others)]) for key, value in first.items()}


def _joined(key: str, parts: Sequence[Tensor]) -> Tensor | LazyTensor:
    axis = 0 if _ROWS.search(key) else 1 if _COLUMNS.search(key) else None
    if axis is None:
        if any(not torch.equal(part, parts[0]) for part in parts[1:]):
            raise CheckpointError(
                f"{key} is whole in every shard, and differs between them; the files are of two models"
            )
        return parts[0]
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    return LazyTensor(tuple(shape), parts[0].dtype, partial(torch.cat, tuple(parts), dim=axis))


def _processor(request: Request, config: Any) -> Processor | None:
    """With Llama-2's tokenizer; None where it is not given."""
    if "tokenizer" not in request.parts:
        return None
    return Processor(config, {"language": load_tokenizer(locate(request.parts["tokenizer"]))})
