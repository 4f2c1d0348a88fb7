"""Checkpoints that survive a kill at any time: JSON and safetensors in a folder that is created atomically."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import file_digest
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vidweave.errors import TrainingError
from vidweave.nn.tensor_files import save_tensors
from vidweave.storage.files import sync

__all__ = ["Checkpoints", "Position", "trainable_tensors", "load_trainable", "load_optimizer", "optimizer_tensors"]

_LOG = logging.getLogger("vidweave.training")
_WEIGHTS, _OPTIMIZER, _STATE = "weights.safetensors", "optimizer.safetensors", "state.json"


@dataclass(frozen=True, kw_only=True)
class Position:
    """Position of a run; `stage` equals the number of stages once all are done.

    Attributes:
        step: Steps done in the stage.
        total_steps: Steps done in all stages.
        elapsed_seconds: Training time so far, over all interruptions.
        stage_started_seconds: `elapsed_seconds` when the stage began.
        sampler: Position in the order of examples (None between stages).
        early_exit: State of the stage's early exit (None without one).
        best: State of the stage's best evaluation (None without `Stage.keep_best`).
        ended: The last stage's own position when the run is complete, so that it can be extended.
        data: Stage → description of its examples, see `data_identity`, for all stages that have started.
        world_size: Number of training processes; None is unknown.
        run: Description of the run, see `identity`.
    """

    stage: int = 0
    step: int = 0
    total_steps: int = 0
    elapsed_seconds: float = 0.0
    stage_started_seconds: float = 0.0
    sampler: dict[str, int] | None = None
    early_exit: dict[str, Any] | None = None
    best: dict[str, Any] | None = None
    ended: dict[str, Any] | None = None
    data: dict[str, Any] = field(default_factory=dict)
    world_size: int | None = None
    run: dict[str, Any] = field(default_factory=dict)


class Checkpoints:
    """The checkpoints of one run: the last one and the one before it."""

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def clean(self) -> None:
        """Remove files left by an interrupted process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(".*"):
            shutil.rmtree(leftover)

    def complete(self) -> list[Path]:
        """Folders of checkpoints, newest first."""
        return sorted((p for p in self.folder.glob("[0-9]*-[0-9]*") if p.is_dir()), reverse=True)

    def save(self, position: Position, weights: Mapping[str, Tensor], optimizer: Mapping[str, Tensor]) -> Path:
        """Write a checkpoint; it is on disk when this returns.

        Raises:
            TrainingError: it could not be written (disk full); earlier ones are unchanged.
        """
        target = self.folder / f"{position.stage:03d}-{position.step:09d}"
        temporary = self.folder / f".writing-{target.name}"
        try:
            temporary.mkdir(parents=True, exist_ok=True)
            save_tensors(temporary / _WEIGHTS, weights)
            save_tensors(temporary / _OPTIMIZER, optimizer)
            digests = {name: _sha256(temporary / name) for name in (_WEIGHTS, _OPTIMIZER)}
            (temporary / _STATE).write_text(json.dumps({**asdict(position), "sha256": digests}, indent=1))
            sync(*temporary.iterdir(), temporary)
            if target.exists():  # a damaged one that was skipped when resuming
                _remove(target)
            temporary.rename(target)
            sync(self.folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            left = self.complete()
            kept = f"the last good one is {left[0]}" if left else "there is none before it"
            raise TrainingError(
                f"the checkpoint {target} could not be written ({error}); {kept}; free space and resume"
            ) from error
        self._drop_old()
        return target

    def latest(self) -> tuple[Position, dict[str, Tensor], dict[str, Tensor]] | None:
        """Load position, weights and optimizer state of the newest undamaged checkpoint; None if there is none at all.

        Raises:
            TrainingError: there are checkpoints, and all are damaged.
        """
        result = self.complete()
        for path in result:
            try:
                return _read(path)
            except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
                _LOG.warning("the checkpoint %s is damaged (%s); trying the one before it", path, error)
        if result:
            raise TrainingError(f"every checkpoint in {self.folder} is damaged; remove the folder to start over")
        return None

    def _drop_old(self) -> None:
        for path in self.complete()[self.keep :]:
            _remove(path)


def trainable_tensors(model: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """Copy the named parameters and all persistent buffers to the CPU."""
    return {
        name: tensor.detach().to("cpu", copy=True).contiguous()
        for name, tensor in _trained_tensors(model, names).items()
    }


def load_trainable(model: nn.Module, names: Iterable[str], tensors: Mapping[str, Tensor]) -> None:
    """Restore `trainable_tensors` in place; names and shapes must match (TrainingError)."""
    own = _trained_tensors(model, names)
    if own.keys() != tensors.keys():
        differing = sorted(own.keys() ^ tensors.keys())
        raise TrainingError(
            f"the checkpoint and the model differ in {len(differing)} tensors: {', '.join(differing[:4])}"
        )
    with torch.no_grad():
        for name, tensor in own.items():
            if tensor.shape != tensors[name].shape:
                raise TrainingError(
                    f"{name} is {tuple(tensors[name].shape)} in the checkpoint, {tuple(tensor.shape)} in the model"
                )
            tensor.copy_(tensors[name])


def optimizer_tensors(optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Flatten the optimizer's state to tensors ``parameter:key``."""
    return {
        f"{name}:{key}": torch.as_tensor(value).detach().to("cpu", copy=True).contiguous()
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Restore `optimizer_tensors`; `step` counters stay on the CPU, where AdamW keeps them."""
    for key, tensor in tensors.items():
        name, _, part = key.rpartition(":")
        if name not in parameters:
            raise TrainingError(f"the checkpoint has optimizer state of {name!r}, which is not trainable in this stage")
        device = "cpu" if part == "step" else parameters[name].device
        optimizer.state[parameters[name]][part] = tensor.to(device)


def _trained_tensors(model: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    parameters = dict(model.named_parameters())
    persistent = model.state_dict().keys()
    buffers = {name: buffer for name, buffer in model.named_buffers() if name in persistent}
    return {**{name: parameters[name] for name in names}, **buffers}


def _read(path: Path) -> tuple[Position, dict[str, Tensor], dict[str, Tensor]]:
    state = json.loads((path / _STATE).read_text())
    for name, digest in state.pop("sha256").items():
        if _sha256(path / name) != digest:
            raise ValueError(f"{name} has another checksum")
    return Position(**state), load_file(path / _WEIGHTS), load_file(path / _OPTIMIZER)


def _remove(folder: Path) -> None:
    """Remove a checkpoint atomically."""
    hidden = folder.with_name(f".old-{folder.name}")
    folder.rename(hidden)
    shutil.rmtree(hidden)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
