"""The encoders of the toy world's further modalities: depth, normals, flow, thermal and touch as frames, audio, points.

    vidweave train tiny/modalities --out runs/tiny-modalities

One stage per encoder: every token is trained to predict the content at its position (the object's shape and quarter, and the
attribute that only this modality shows), for all modalities of the encoder in every step. The encoders are then frozen and
written as separate assets (`tiny-pictures`, `tiny-sound`, `tiny-points`), the base models of tiny-crema.

An audio token covers all pitches of its part of the clip. With tokens of single bands side by side, most of them depended on
a neighbor to detect a beep, and three quarters of the parts were counted right; now all of them are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vidweave.systems.tiny.modalities import MODALITY_ENCODERS, MODALITY_WIDTH, modality_encoders
from vidweave.tiny.asset_files import write_encoder, write_facts
from vidweave.tiny.modalities import LabeledModalities
from vidweave.tiny.modality_labels import ModalityLabels, collate_modalities, modality_heads
from vidweave.training.schedule import Schedule
from vidweave.training.stages import AdamWSettings, Pass, Run, Stage

__all__ = ["ModalitiesRoot", "Settings", "recipe"]

ASSETS = {"pictures": "tiny-pictures", "sound": "tiny-sound", "points": "tiny-points"}
UNSEEN = 2**31 - 100_000  # first example held out for evaluation


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the recipe. The defaults trained the shipped encoders, in about seven minutes of one core."""

    seed: int = 0
    pictures_steps: int = 260
    sound_steps: int = 120
    points_steps: int = 700
    scenes_per_step: int = 48
    learning_rate: float = 2e-3
    evaluation_scenes: int = 256


class ModalitiesRoot(nn.Module):
    """The encoders, and heads that are discarded afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.encoders = nn.ModuleDict({name: config.build() for name, config in modality_encoders().items()})
        self.modality_heads = modality_heads(MODALITY_WIDTH)


def recipe(**overrides: Any) -> Run:
    """Build the run; `overrides` are fields of Settings."""
    s = Settings(**overrides)
    torch.manual_seed(s.seed)
    stages = [
        Stage(
            name=name,
            objective=ModalityLabels(MODALITY_ENCODERS),
            examples=LabeledModalities(modalities=_modalities_of(name)),
            collate=partial(collate_modalities, _specs()),
            passes=(
                Pass(name, (f"model.encoders.{name}.*", *(f"modality_heads.{m}.*" for m in _modalities_of(name)))),
            ),
            steps=steps,
            batch_size=s.scenes_per_step,
            optimizer=AdamWSettings(lr=s.learning_rate, weight_decay=0.01, betas=(0.9, 0.98)),
            schedule=Schedule("cosine", warmup_steps=max(1, steps // 10), min_lr_ratio=0.02),
            share=len(_modalities_of(name)),
        )
        for name, steps in {"pictures": s.pictures_steps, "sound": s.sound_steps, "points": s.points_steps}.items()
    ]
    return Run(
        name="tiny-modalities",
        model=ModalitiesRoot(),
        stages=stages,
        seed=s.seed,
        finish=partial(_finish, scenes=s.evaluation_scenes, settings=asdict(s)),
        config=asdict(s),
    )


def _modalities_of(encoder: str) -> tuple[str, ...]:
    return tuple(modality for modality, name in MODALITY_ENCODERS.items() if name == encoder)


def _specs() -> dict[str, Any]:
    configs: dict[str, Any] = modality_encoders()
    return {modality: configs[encoder].specs[modality] for modality, encoder in MODALITY_ENCODERS.items()}


@torch.no_grad()
def _figures(root: ModalitiesRoot, scenes: int) -> dict[str, float]:
    """Accuracy of the labels per modality, over tokens of unseen scenes."""
    source, losses = LabeledModalities(), ModalityLabels(MODALITY_ENCODERS)
    batch = collate_modalities(_specs(), [source[UNSEEN + i] for i in range(scenes)])
    return {name: round(float(losses(root, batch)[f"{name}/right"]), 4) for name in MODALITY_ENCODERS}


def _finish(root: ModalitiesRoot, out: Path, *, scenes: int, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    root.half().float().eval()  # the precision of the saved weights
    figures = _figures(root, scenes)
    for name, asset in ASSETS.items():
        folder = out / "assets" / asset
        encoder: Any = root.model.encoders[name]  # type: ignore[index]
        write_encoder(folder, name, encoder, modality_encoders()[name])
        training = {"seed": settings["seed"], "steps": settings[f"{name}_steps"]}
        write_facts(
            folder / "asset.json",
            __file__,
            out,
            {**training, "figures": {modality: figures[modality] for modality in _modalities_of(name)}},
        )
    return figures
