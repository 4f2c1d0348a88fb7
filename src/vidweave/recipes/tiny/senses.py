"""The encoders of the toy world's further senses: depth, normals, flow, thermal and touch as pictures, sound, points.

    vidweave train tiny/senses --out runs/tiny-senses

A stage for each encoder: every token learns what there is at its place (the shape, the quarter where it lives, and what this
sense alone tells of it), of all senses of the encoder in every step. The encoders are then frozen and written as assets of
their own (`tiny-pictures`, `tiny-sound`, `tiny-points`), which tiny-crema names as its bases.

A token of sound covers all pitches of its part of the clip. With tokens of single bands beside one another most of them had
to hear of a beep from a neighbour, and three quarters of the parts were counted right; so all of them are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vidweave.systems.tiny.senses import SENSE_ENCODERS, SENSE_WIDTH, sense_encoders
from vidweave.tiny.asset_files import write_facts, write_weights
from vidweave.tiny.modalities import LabelledSenses
from vidweave.tiny.modality_labels import SenseLabels, collate_senses, sense_heads
from vidweave.training.schedule import Schedule
from vidweave.training.stages import AdamWSettings, Pass, Run, Stage

__all__ = ["SensesRoot", "Settings", "recipe"]

ASSETS = {"pictures": "tiny-pictures", "sound": "tiny-sound", "points": "tiny-points"}
UNSEEN = 2**31 - 100_000  # examples from here on are kept for the figures


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The defaults made the shipped encoders, in about seven minutes of one core."""

    seed: int = 0
    pictures_steps: int = 260
    sound_steps: int = 120
    points_steps: int = 700
    scenes_per_step: int = 48
    learning_rate: float = 2e-3
    evaluation_scenes: int = 256


class SensesRoot(nn.Module):
    """The encoders, and heads that are thrown away afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.encoders = nn.ModuleDict({name: config.build() for name, config in sense_encoders().items()})
        self.sense_heads = sense_heads(SENSE_WIDTH)


def recipe(**overrides: Any) -> Run:
    """The run; `overrides` are fields of Settings."""
    s = Settings(**overrides)
    torch.manual_seed(s.seed)
    stages = [
        Stage(
            name=name,
            objective=SenseLabels(SENSE_ENCODERS),
            examples=LabelledSenses(senses=_senses_of(name)),
            collate=partial(collate_senses, _specs()),
            passes=(Pass(name, (f"model.encoders.{name}.*", *(f"sense_heads.{m}.*" for m in _senses_of(name)))),),
            steps=steps,
            batch_size=s.scenes_per_step,
            optimizer=AdamWSettings(lr=s.learning_rate, weight_decay=0.01, betas=(0.9, 0.98)),
            schedule=Schedule("cosine", warmup_steps=max(1, steps // 10), min_lr_ratio=0.02),
            share=len(_senses_of(name)),
        )
        for name, steps in {"pictures": s.pictures_steps, "sound": s.sound_steps, "points": s.points_steps}.items()
    ]
    return Run(
        name="tiny-senses",
        model=SensesRoot(),
        stages=stages,
        seed=s.seed,
        finish=partial(_finish, scenes=s.evaluation_scenes, settings=asdict(s)),
        config=asdict(s),
    )


def _senses_of(encoder: str) -> tuple[str, ...]:
    return tuple(sense for sense, by in SENSE_ENCODERS.items() if by == encoder)


def _specs() -> dict[str, Any]:
    configs: dict[str, Any] = sense_encoders()
    return {sense: configs[encoder].specs[sense] for sense, encoder in SENSE_ENCODERS.items()}


@torch.no_grad()
def _figures(root: SensesRoot, scenes: int) -> dict[str, float]:
    """Share of right labels per sense, over tokens of scenes that were not trained on."""
    source, losses = LabelledSenses(), SenseLabels(SENSE_ENCODERS)
    batch = collate_senses(_specs(), [source[UNSEEN + i] for i in range(scenes)])
    return {name: round(float(losses(root, batch)[f"{name}/right"]), 4) for name in SENSE_ENCODERS}


def _finish(root: SensesRoot, out: Path, *, scenes: int, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    root.half().float().eval()  # as they will be read back
    figures = _figures(root, scenes)
    for name, asset in ASSETS.items():
        folder = out / "assets" / asset
        encoder: Any = root.model.encoders[name]  # type: ignore[index]
        write_weights(folder / "model.safetensors", encoder.state_dict())
        made = {"seed": settings["seed"], "steps": settings[f"{name}_steps"]}
        write_facts(
            folder / "asset.json",
            __file__,
            out,
            {**made, "figures": {sense: figures[sense] for sense in _senses_of(name)}},
        )
    return figures
