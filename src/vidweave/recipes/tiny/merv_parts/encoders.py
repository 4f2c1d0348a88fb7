"""The encoders of tiny-merv, each trained on its own labels."""

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
from vidweave.tiny.patch_labels import DenseLabels, collate_frames, dense_heads
from vidweave.tiny.scenes import LabeledFrames
from vidweave.tiny.sources import FirstExamples
from vidweave.tiny.token_classes import LabeledTokens
from vidweave.tiny.token_labels import TokenLabels, collate_tokens, right_labels, token_heads
from vidweave.training.stages import Examples, Run, Stage

__all__ = ["ENCODERS", "EncoderRoot", "UNSEEN", "encoder_run"]

ENCODERS = {"detail": detail_config, "tempo": tempo_config, "generalist": generalist_config}


UNSEEN = 1_000_000  # first training scene held out for evaluation


GENERAL = ("shape", "colour", "size")


# Encoder → labels of its tokens, and the weight of each.
LABEL_WEIGHTS = {
    "detail": {"texture": 2.0, "colour": 1.0, "shape": 0.5, "quarter": 1.0},
    "tempo": {"speed": 2.0, "motion": 1.0, "colour": 0.5, "shape": 0.5, "quarter": 1.0},
}


SOURCES = {
    "detail": LabeledTokens(tuple(LABEL_WEIGHTS["detail"]), patch=4, tube=1, frames=2),
    "tempo": LabeledTokens(tuple(LABEL_WEIGHTS["tempo"]), patch=8, tube=TUBE, frames=8),
}


class EncoderRoot(nn.Module):
    """An encoder, and heads that are discarded after training."""

    def __init__(self, name: str, encoder: nn.Module, heads: nn.ModuleDict) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.encoders = nn.ModuleDict({name: encoder})
        self.heads = heads


def encoder_run(s: Settings) -> Run:
    """Train one encoder on dense labels of its tokens."""
    name = s.part.removeprefix("encoder-")
    encoder = ENCODERS[name]().build()
    widen(encoder)
    if name == "generalist":
        source, collate, labels = LabeledFrames(long_share=0.0), partial(collate_frames, PIXELS), GENERAL
        heads, objective = dense_heads(encoder.width), DenseLabels(name, attributes=labels)
    else:
        source, labels = SOURCES[name], SOURCES[name].names
        collate = partial(collate_tokens, PIXELS, SOURCES[name].tube)
        heads, objective = token_heads(encoder.width, labels), TokenLabels(name, LABEL_WEIGHTS[name])
    right = partial(_right, name=name, source=source, collate=collate, labels=labels)
    stage = Stage(
        name="encoder",
        objective=objective,
        examples=FirstExamples(source, s.encoder_scenes),
        collate=collate,
        steps=s.encoder_steps,
        batch_size=s.encoder_batch,
        optimizer=optimizer(lr=s.encoder_learning_rate, clip_norm=5.0),
        schedule=COSINE,
        evaluate=partial(right, scenes=min(64, s.figure_scenes)),
        evaluate_every=50,
    )
    root = EncoderRoot(name, encoder, heads)
    finish = partial(_write_encoder, name=name, settings=asdict(s), evaluate=partial(right, scenes=s.figure_scenes))
    return Run(name=f"tiny-{name}", model=root, stages=[stage], seed=s.seed, finish=finish, config=asdict(s))


def _right(
    root: EncoderRoot,
    step: int,
    *,
    name: str,
    source: Examples,
    collate: Callable[[list[Any]], dict[str, Tensor]],
    labels: Sequence[str],
    scenes: int,
) -> dict[str, float]:
    """Accuracy of the labels on unseen scenes."""
    return right_labels(root, name, collate([source[UNSEEN + index] for index in range(scenes)]), labels)


def _write_encoder(
    root: EncoderRoot,
    out: Path,
    *,
    name: str,
    settings: Mapping[str, Any],
    evaluate: Callable[..., Mapping[str, float]],
) -> Mapping[str, float]:
    figures = evaluate(root.half().float().eval(), -1)  # the precision of the saved weights
    folder = out / f"tiny-{name}"
    write_weights(folder / "model.safetensors", root.get_submodule(f"model.encoders.{name}").state_dict())
    write_part_facts(folder / "asset.json", out, settings, figures=figures)
    return figures
