"""Identity of a run, compared when a checkpoint is resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from hashlib import sha256
from typing import Any

import torch

from vidweave.errors import TrainingError
from vidweave.training.stages import Run, Stage

__all__ = ["check_same_run", "describe_run", "longer_stages", "run_hash"]

_SCHEDULE_LENGTHS = ("warmup_steps", "num_epochs", "steps_per_epoch")
_CONFIG_LENGTHS = ("epochs", "steps")  # lengths in a recipe's settings; stages hold the resulting ones
_CONFIG_HOW_NOT_WHAT = ("workers",)  # settings of a recipe that do not affect batches
_SAMPLED_VALUES = 64
_HOW_NOT_WHAT = (
    "objective",
    "examples",
    "collate",
    "evaluate",
    "evaluate_every",
    "keep_best",
    "loader_threads",
    "loader_workers",
    "passes",
    "share",
)


def describe_run(run: Run) -> dict[str, Any]:
    """Describe a run as JSON data: settings, stages, trainable parameters, and a digest of the frozen weights."""
    trainable = set(run.trainable())
    frozen = {name: p for name, p in run.model.named_parameters() if name not in trainable}
    return {
        "name": run.name,
        "seed": run.seed,
        "config": _without(_plain(run.config), _CONFIG_HOW_NOT_WHAT),
        "stages": {stage.name: _describe_stage(stage, run) for stage in run.stages},
        "trainable": {name: list(p.shape) for name, p in run.model.named_parameters() if name in trainable},
        "frozen": _digest(frozen),
    }


def run_hash(description: dict[str, Any]) -> str:
    """Return a short hash of a description."""
    return sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]


def check_same_run(saved: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise TrainingError with the differences unless both descriptions are equal, except for longer stages."""
    longer = longer_stages(saved, now)
    before, after = _flat(_lengthened(saved, now, longer)), _flat(now)
    if longer:
        before, after = (
            {k: v for k, v in flat.items() if not (k.startswith("config.") and k.endswith(_CONFIG_LENGTHS))}
            for flat in (before, after)
        )
    changed = [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)]
    if changed:
        shown = "; ".join(f"{key} was {before.get(key)!r}, is {after.get(key)!r}" for key in changed[:4])
        more = f"; and {len(changed) - 4} more" if len(changed) > 4 else ""
        raise TrainingError(
            f"the checkpoint belongs to another recipe: {shown}{more}. Resume with the old settings, or train into "
            "another folder"
        )


def longer_stages(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the names of stages that have more steps now."""
    stages = {name: stage for name, stage in saved["stages"].items() if name in now["stages"]}
    return [name for name, stage in stages.items() if now["stages"][name]["steps"] > stage["steps"]]


def _lengthened(saved: dict[str, Any], now: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Return `saved` with the lengths of the stages `names` in `now`: their steps, and those of their schedules."""
    stages = dict(saved["stages"])
    for name in names:
        schedule = {key: now["stages"][name]["schedule"][key] for key in _SCHEDULE_LENGTHS}
        steps = now["stages"][name]["steps"]
        stages[name] = {**stages[name], "steps": steps, "schedule": {**stages[name]["schedule"], **schedule}}
    return {**saved, "stages": stages}


def _describe_stage(stage: Stage, run: Run) -> dict[str, Any]:
    settings = {f.name: _plain(getattr(stage, f.name)) for f in fields(stage) if f.name not in _HOW_NOT_WHAT}
    return {**settings, "objective": _plain(stage.objective), "passes": stage.trainable(run.model)}


def _plain(value: Any) -> Any:
    """Convert to JSON data; other objects become the name of their type, never their address."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__qualname__, **{f.name: _plain(getattr(value, f.name)) for f in fields(value)}}
    return getattr(value, "__qualname__", type(value).__qualname__)


def _without(settings: Any, names: tuple[str, ...]) -> Any:
    return {k: v for k, v in settings.items() if k not in names} if isinstance(settings, dict) else settings


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    return {
        key: item
        for name, child in value.items()
        for key, item in _flat(child, f"{path}.{name}" if path else name).items()
    }


def _digest(parameters: dict[str, torch.nn.Parameter]) -> str:
    """Hash the names, shapes and some values of each: enough to detect other weights, without reading gigabytes."""
    digest = sha256()
    for name, parameter in parameters.items():
        values = parameter.detach().flatten()[:_SAMPLED_VALUES].to("cpu", torch.float64)
        digest.update(f"{name}{tuple(parameter.shape)}{values.tolist()}".encode())
    return digest.hexdigest()
