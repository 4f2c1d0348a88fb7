"""The encoders of tiny-merv, each trained on labels of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vidweave.encoders.tiny import PIXELS
from vidweave.recipes.tiny.merv_parts.settings import (
    COSINE,
    Settings,
    optimizer,
    write_part_facts,
)
from vidweave.systems.merv.tiny import (
    TUBE,
    detail_config,
    generalist_config,
    tempo_config,
)
from vidweave.tiny.asset_files import write_weights
from vidweave.tiny.linear_starts import widen
from vidweave.tiny.patch_labels import DenseLabels, collate_pictures, dense_heads
from vidweave.tiny.scenes import LabelledPictures
from vidweave.tiny.sources import FirstExamples
from vidweave.tiny.token_classes import LabelledTokens
from vidweave.tiny.token_labels import TokenLabels, collate_tokens, right_labels, token_heads
from vidweave.training.stages import Examples, Run, Stage

__all__ = ["ENCODERS", "EncoderRoot", "UNSEEN", "encoder_run"]

ENCODERS = {"detail": detail_config, "tempo": tempo_config, "generalist": generalist_config}


UNSEEN = 1_000_000  # training scenes from here on are kept for figures


GENERAL = ("shape", "colour", "size")


# Encoder → what its tokens are to tell, and how much each counts.
TOLD = {
    "detail": {"texture": 2.0, "colour": 1.0, "shape": 0.5, "quarter": 1.0},
    "tempo": {"speed": 2.0, "motion": 1.0, "colour": 0.5, "shape": 0.5, "quarter": 1.0},
}


SEEN = {
    "detail": LabelledTokens(tuple(TOLD["detail"]), patch=4, tube=1, frames=2),
    "tempo": LabelledTokens(tuple(TOLD["tempo"]), patch=8, tube=TUBE, frames=8),
}


class EncoderRoot(nn.Module):
    """An encoder, and heads that are thrown away."""

    def __init__(self, name: str, encoder: nn.Module, heads: nn.ModuleDict) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.encoders = nn.ModuleDict({name: encoder})
        self.heads = heads


def encoder_run(s: Settings) -> Run:
    """Train one encoder on dense labels of what its tokens show."""
    eye = s.part.removeprefix("eye-")
    encoder = ENCODERS[eye]().build()
    widen(encoder)
    if eye == "generalist":
        source, collate, names = LabelledPictures(long_share=0.0), partial(collate_pictures, PIXELS), GENERAL
        heads, objective = dense_heads(encoder.width), DenseLabels(eye, attributes=names)
    else:
        source, names = SEEN[eye], SEEN[eye].names
        collate = partial(collate_tokens, PIXELS, SEEN[eye].tube)
        heads, objective = token_heads(encoder.width, names), TokenLabels(eye, TOLD[eye])
    right = partial(_right, eye=eye, source=source, collate=collate, names=names)
    stage = Stage(
        name="eye",
        objective=objective,
        examples=FirstExamples(source, s.eye_scenes),
        collate=collate,
        steps=s.eye_steps,
        batch_size=s.eye_batch,
        optimizer=optimizer(lr=s.eye_learning_rate, clip_norm=5.0),
        schedule=COSINE,
        evaluate=partial(right, scenes=min(64, s.figure_scenes)),
        evaluate_every=50,
    )
    root = EncoderRoot(eye, encoder, heads)
    finish = partial(_write_encoder, eye=eye, settings=asdict(s), evaluate=partial(right, scenes=s.figure_scenes))
    return Run(name=f"tiny-{eye}", model=root, stages=[stage], seed=s.seed, finish=finish, config=asdict(s))


def _right(
    root: EncoderRoot,
    step: int,
    *,
    eye: str,
    source: Examples,
    collate: Callable[[list[Any]], dict[str, Tensor]],
    names: Sequence[str],
    scenes: int,
) -> dict[str, float]:
    """On scenes that were not trained on."""
    return right_labels(root, eye, collate([source[UNSEEN + index] for index in range(scenes)]), names)


def _write_encoder(
    root: EncoderRoot, out: Path, *, eye: str, settings: Mapping[str, Any], evaluate: Callable[..., Mapping[str, float]]
) -> Mapping[str, float]:
    figures = evaluate(root.half().float().eval(), -1)  # as it will be read back
    folder = out / f"tiny-{eye}"
    write_weights(folder / "model.safetensors", root.get_submodule(f"model.encoders.{eye}").state_dict())
    write_part_facts(folder / "asset.json", out, settings, figures=figures)
    return figures
