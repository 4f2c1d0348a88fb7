"""The training stages of VideoTGB (arXiv 2402.16050), with its hyperparameters and a corrected schedule.

    vidweave train videotgb/train stage=tg model=MODEL data=train.json media=videos labels=labels.jsonl
    vidweave train videotgb/train stage=iv model=MODEL data=train.json media=media

SF  joint: bridge and Q-Former side together, from pseudo spans and from answers
TG  the bridge alone, from pseudo spans; no frame is encoded
IV  the Q-Former side, on images and videos, with the bridge frozen
IVT as IV, with text-only conversations and LoRA on the language model

`model` is a folder of a VideoTGB model: converted, or a base with a bridge attached (`systems.videotgb.attach`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

import vidweave
from vidweave.data.instruct import read_instruct, read_video_instruct
from vidweave.errors import ConfigError
from vidweave.language.adapters import add_lora, merge_lora
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.mixing import every_candidate
from vidweave.model.processor import Processor
from vidweave.recipes.videotgb.conversations import ConversationLoss, collate_conversations, last_questions
from vidweave.selectors.grounding import GroundingSelectorConfig
from vidweave.training import (
    AdamWSettings,
    GroundedAnswerLoss,
    Pass,
    Run,
    Schedule,
    SpanLoss,
    Stage,
)
from vidweave.training.batches import default_workers
from vidweave.training.pseudo_labels import read_labels
from vidweave.types import Conversation, ModelInputs

__all__ = [
    "Numbers",
    "Settings",
    "collate_joint",
    "collate_spans",
    "make_stage",
    "read_items",
    "read_spans",
    "recipe",
]

StageName = Literal["sf", "tg", "iv", "ivt"]
Family = Literal["flan-t5-xl", "vicuna-7b"]


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """Hyperparameters of one stage and language model (spec 3.2): passes over the data, examples per step, precision."""

    epochs: int
    batch: int
    precision: Literal["32-true", "bf16-mixed"]


NUMBERS: dict[tuple[StageName, Family], Numbers] = {
    ("sf", "flan-t5-xl"): Numbers(epochs=2, batch=8, precision="bf16-mixed"),
    ("sf", "vicuna-7b"): Numbers(epochs=1, batch=4, precision="32-true"),
    ("tg", "flan-t5-xl"): Numbers(epochs=3, batch=32, precision="32-true"),
    ("tg", "vicuna-7b"): Numbers(epochs=3, batch=32, precision="32-true"),
    ("iv", "flan-t5-xl"): Numbers(epochs=3, batch=16, precision="32-true"),
    ("iv", "vicuna-7b"): Numbers(epochs=3, batch=128, precision="bf16-mixed"),
    ("ivt", "flan-t5-xl"): Numbers(epochs=3, batch=16, precision="bf16-mixed"),
    ("ivt", "vicuna-7b"): Numbers(epochs=2, batch=16, precision="bf16-mixed"),
}
LEARNING_RATE, WARMUP = 5e-5, 0.05
# SF and TG used Adam with its decay of 0.05 in the gradient; ours is decoupled.
_FROM_SPANS = AdamWSettings(lr=LEARNING_RATE, weight_decay=0.05, clip_norm=None)
_FROM_CONVERSATIONS = AdamWSettings(lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01, clip_norm=None)
OPTIMIZERS: dict[StageName, AdamWSettings] = {
    "sf": _FROM_SPANS,
    "tg": _FROM_SPANS,
    "iv": _FROM_CONVERSATIONS,
    "ivt": _FROM_CONVERSATIONS,
}

# Stored rotary tables are not included: they belong to the released weights, and are not trained.
BRIDGE = tuple(f"selector.bridge.{part}.*" for part in ("words", "motion", "layers", "span_head"))
QFORMER = ("connector.trunks.*", "connector.ports.video.query_tokens", "connector.ports.video.output_proj.*")
TRAINABLE: dict[StageName, tuple[str, ...]] = {
    "sf": (*BRIDGE, *QFORMER),
    "tg": BRIDGE,
    "iv": QFORMER,
    "ivt": (*QFORMER, "language_model.*.lora_*"),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Model, data and stage of the training.

    Attributes:
        stage, family: Select the hyperparameters.
        model: Folder or name to start from.
        data: Question file: by index for SF and TG, conversations for IV and IVT; `media` is the folder of its files.
        labels: JSON lines of pseudo spans (`vidweave pseudo-label`), by id; required for SF and TG.
        text: Conversations without media, for IVT.
        train_through: Path of SF's answer loss to the bridge, see GroundingSelectorConfig; `hard` is the original.
        train_language_model: Train the whole language model in SF, as for the released T5.
        steps, batch, learning_rate: Override those of the stage; 0 keeps them.
        accumulate: Micro-batches per step.
        workers: Spawned processes that prepare batches ahead; None: 2 on a machine with at least 4 CPU cores, else 0. IV
            and IVT have none: the bridge's weights select their frames.
    """

    stage: StageName = "tg"
    family: Family = "flan-t5-xl"
    model: str = ""
    data: str = ""
    media: str = "."
    labels: str = ""
    text: str = ""
    train_through: Literal["hard", "straight_through", "soft"] = "straight_through"
    train_language_model: bool = False
    steps: int = 0
    batch: int = 0
    learning_rate: float = 0.0
    accumulate: int = 1
    workers: int | None = None
    seed: int = 43


def recipe(**overrides: Any) -> Run:
    """Build the run; `overrides` are fields of Settings."""
    s = Settings(**overrides)
    if not s.model or not s.data:
        raise ConfigError("give a model and data: model=FOLDER data=FILE")
    model = vidweave.load(s.model).model
    return Run(
        name=f"videotgb-{s.stage}",
        model=model,
        stages=[make_stage(model, s, read_items(s), read_spans(s.labels))],
        seed=s.seed,
        finish=_finish,
        config=asdict(s),
    )


def make_stage(
    model: VideoLanguageModel, s: Settings, items: Sequence[Conversation], spans: dict[str, tuple[float, float]]
) -> Stage:
    """Build the stage of `s` for this model and these items; `spans` in seconds, by id of an item."""
    numbers, rate = NUMBERS[s.stage, s.family], s.learning_rate or LEARNING_RATE
    batch = s.batch or numbers.batch
    steps = s.steps or numbers.epochs * ceil(len(items) / batch)
    if s.stage in ("sf", "tg"):
        lacking = [item.id for item in items if item.id not in spans]
        if lacking:
            raise ConfigError(f"{len(lacking)} items have no pseudo span, e.g. {lacking[0]!r}; label them first")
    if s.stage == "ivt":
        add_lora(model.language_model)
    if s.stage == "sf":
        _train_through(model, s.train_through)
    collate = {
        "tg": partial(collate_spans, model.processor, spans),
        "sf": partial(collate_joint, model.processor, spans),
        "iv": partial(collate_conversations, model),
        "ivt": partial(collate_conversations, model),
    }[s.stage]
    objective = {"tg": SpanLoss(), "sf": GroundedAnswerLoss(), "iv": ConversationLoss(), "ivt": ConversationLoss()}
    trainable = TRAINABLE[s.stage]
    if s.stage == "sf" and s.train_language_model:
        trainable = (*trainable, "language_model.*")
    return Stage(
        name=s.stage,
        objective=objective[s.stage],
        examples=items,
        collate=collate,
        loader_workers=_workers(s),
        steps=steps,
        batch_size=batch,
        accumulate=s.accumulate,
        passes=(Pass(s.stage, trainable),),
        optimizer=_with_rate(OPTIMIZERS[s.stage], rate),
        schedule=Schedule("cosine", warmup_steps=max(1, round(WARMUP * steps))),
        precision=numbers.precision,
    )


# -- data --------------------------------------------------------------------------------------------------------


def read_items(s: Settings) -> list[Conversation]:
    """Read the stage's data: single questions about videos, or conversations about images, videos and without media."""
    if s.stage in ("sf", "tg"):
        return read_video_instruct(s.data, s.media)
    return read_instruct(s.data, s.media, text=s.text or None)


def read_spans(path: str) -> dict[str, tuple[float, float]]:
    """Read the spans of `vidweave pseudo-label`: id → (start, end) in seconds."""
    labels = read_labels(path)[1] if path else {}
    return {name: (label.start, label.end) for name, label in labels.items()}


def _targets(items: Sequence[Conversation], spans: dict[str, tuple[float, float]]) -> Tensor:
    return torch.tensor([[spans[item.id]] for item in items], dtype=torch.float64)


def collate_spans(processor: Processor, spans: dict[str, tuple[float, float]], items: list[Conversation]) -> Any:
    """Collate TG: motion, question and spans; no frame is decoded for the tower."""
    with processor.prepare(last_questions(items)) as prepared:
        return prepared.selector_inputs(target_spans=_targets(items, spans))


def collate_joint(
    processor: Processor, spans: dict[str, tuple[float, float]], items: list[Conversation]
) -> ModelInputs:
    """Collate SF: as TG, plus the frames of all candidates, and the answers."""
    k, selector = processor.spec.streams["video"].need.num_frames or 1, processor.spec.selector
    assert isinstance(selector, GroundingSelectorConfig)  # of the preset
    with processor.prepare(last_questions(items)) as prepared:
        selection = every_candidate(prepared, k, limit=selector.num_candidates)
        answers = [item.answer for item in items]
        return processor.fetch(prepared, selection, targets=answers, target_spans=_targets(items, spans))


# -- parts -------------------------------------------------------------------------------------------------------


def _workers(s: Settings) -> int:
    if s.stage in ("sf", "tg"):
        return default_workers() if s.workers is None else s.workers
    if s.workers:
        raise ConfigError(
            f"workers={s.workers}: stage {s.stage} selects frames with the bridge's weights; set workers=0"
        )
    return 0


def _with_rate(settings: AdamWSettings, rate: float) -> AdamWSettings:
    return AdamWSettings(**{**asdict(settings), "lr": rate})


def _train_through(model: VideoLanguageModel, mode: str) -> None:
    """Set the `train_through` mode of the selector; it is not a weight, so it is set on the existing model."""
    model.selector.config = replace(model.selector.config, train_through=mode)


def _finish(model: VideoLanguageModel, out: Path) -> dict[str, Any]:
    """Write the model, adapters merged."""
    merged = merge_lora(model.language_model)
    model.save_pretrained(out / "model")
    return {"merged": merged}
