"""Checks that nothing of a model is lost between saving and loading it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from vidweave.errors import CheckpointError
from vidweave.model.assembly import VideoLanguageModel


@contextmanager
def working_directory(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def change_everything(model: VideoLanguageModel, seed: int = 3) -> None:
    """Give every parameter and every saved buffer of floating dtype other values."""
    generator = torch.Generator().manual_seed(seed)
    kept = model.state_dict().keys()
    tensors = [*model.parameters(), *(buffer for name, buffer in model.named_buffers() if name in kept)]
    with torch.no_grad():
        for tensor in tensors:
            if tensor.is_floating_point():
                tensor.add_(0.25 + torch.rand(tensor.shape, generator=generator).to(tensor.dtype))


def assert_same(model: VideoLanguageModel, again: VideoLanguageModel) -> None:
    """All parameters and buffers are equal bit for bit, also buffers that are not saved."""
    ours, theirs = model.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    lost = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert not lost, f"{len(lost)} of {len(ours)} tensors are lost: {lost[:4]}"
    for (name, one), (_, other) in zip(model.named_buffers(), again.named_buffers(), strict=True):
        assert torch.equal(one, other), name


def assert_kept(model: VideoLanguageModel, folder: Path, **load: Any) -> None:
    """Change everything; save whole, in shards and as a trained part; load from another working directory; compare."""
    folder.mkdir(parents=True, exist_ok=True)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    change_everything(model)
    roots = [
        "language_model",
        *(f"encoders.{name}" for name in model.encoders if list(model.encoders[name].parameters())),
    ]
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    with working_directory(folder):
        model.save_pretrained("whole")
        model.save_pretrained("whole", max_shard_size=size // 3 + 1)
        model.save_pretrained("part", bases=dict.fromkeys(roots, "./whole"))
    assert not (folder / "whole" / "model.safetensors").exists()
    assert json.loads((folder / "whole" / "config.json").read_text())["bases"] == {}
    with working_directory(elsewhere):
        assert_same(model, VideoLanguageModel.from_pretrained(folder / "whole", **load))
        assert_same(model, VideoLanguageModel.from_pretrained(folder / "part", **load))
    with torch.no_grad():
        next(model.language_model.parameters()).view(-1)[-1] += 1
    with pytest.raises(
        CheckpointError, match=r"below 'language_model' are not those of the base .*leave 'language_model' out"
    ):
        model.save_pretrained(folder / "part", bases=dict.fromkeys(roots, str(folder / "whole")))
    model.save_pretrained(folder / "whole")
    assert_same(model, VideoLanguageModel.from_pretrained(folder / "whole", **load))
