"""The training stages of VideoTGB (arXiv 2402.16050), with its numbers and a schedule that works.

    vidweave train videotgb/train stage=tg model=MODEL data=train.json media=videos labels=labels.jsonl
    vidweave train videotgb/train stage=iv model=MODEL data=train.json media=media

SF  joint: bridge and Q-Former side learn together, from pseudo spans and from answers
TG  the bridge alone, from pseudo spans; no picture is looked at
IV  the Q-Former side, on images and videos, with the bridge as it is
IVT as IV, with text-only conversations and LoRA on the language model

`model` is a folder of a VideoTGB model: converted, or a base with a bridge put on (`systems.videotgb.attach`).
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
from vidweave.data.instruct import InstructItem, read_instruct, read_video_instruct
from vidweave.errors import ConfigError
from vidweave.language.adapters import add_lora, merge_lora
from vidweave.language.layout import Special, TemplateLayout, Text
from vidweave.language.splice import splice
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.mixing import every_candidate
from vidweave.training import (
    AdamWSettings,
    AnswerLoss,
    GroundedAnswerLoss,
    Pass,
    Run,
    Schedule,
    SpanLoss,
    Stage,
)
from vidweave.training.pseudo_labels import read_labels
from vidweave.types import Clip, MeanOver, ModelInputs, PromptPlan, Query, TextTokens

__all__ = [
    "ConversationLoss",
    "Conversations",
    "Numbers",
    "Settings",
    "collate_conversations",
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
    """Of one stage and language model (spec 3.2): passes over the data, examples per step, precision."""

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

# Stored rotary tables are no part of it: they are the released weights' own, and stay.
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
    """What to train on what.

    Attributes:
        stage, family: Which numbers hold.
        model: Folder or name to start from.
        data: Question file: by index for SF and TG, conversations for IV and IVT; `media` is the folder of its files.
        labels: JSON lines of pseudo spans (`vidweave pseudo-label`), by id; SF and TG need them.
        text: Conversations without media, for IVT.
        train_through: How SF's answer loss reaches the bridge, see GroundingSelectorConfig; `hard` is the original.
        train_language_model: SF of the released T5 trained it whole.
        steps, batch, learning_rate: Instead of the stage's own; 0 keeps them.
        accumulate: Micro-batches per step.
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
    seed: int = 43


def recipe(**overrides: Any) -> Run:
    """The run; `overrides` are fields of Settings."""
    s = Settings(**overrides)
    if not s.model or not s.data:
        raise ConfigError("say what to train on what: model=FOLDER data=FILE")
    model = vidweave.load(s.model)
    return Run(
        name=f"videotgb-{s.stage}",
        model=model,
        stages=[make_stage(model, s, read_items(s), read_spans(s.labels))],
        seed=s.seed,
        finish=_finish,
        config=asdict(s),
    )


def make_stage(
    model: VideoLanguageModel, s: Settings, items: Sequence[InstructItem], spans: dict[str, tuple[float, float]]
) -> Stage:
    """The stage of `s` for this model and these items; `spans` in seconds, by id of an item."""
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
        "tg": partial(collate_spans, model, spans),
        "sf": partial(collate_joint, model, spans),
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
        steps=steps,
        batch_size=batch,
        accumulate=s.accumulate,
        passes=(Pass(s.stage, trainable),),
        optimizer=_with_rate(OPTIMIZERS[s.stage], rate),
        schedule=Schedule("cosine", warmup_steps=max(1, round(WARMUP * steps))),
        precision=numbers.precision,
    )


# -- data --------------------------------------------------------------------------------------------------------


def read_items(s: Settings) -> list[InstructItem]:
    """Of the stage: single questions about videos, or conversations about images, videos and nothing."""
    if s.stage in ("sf", "tg"):
        return read_video_instruct(s.data, s.media)
    return read_instruct(s.data, s.media, text=s.text or None)


def read_spans(path: str) -> dict[str, tuple[float, float]]:
    """Id → (start, end) in seconds, of the lines that `vidweave pseudo-label` wrote."""
    labels = read_labels(path)[1] if path else {}
    return {name: (label.start, label.end) for name, label in labels.items()}


def _queries(items: Sequence[InstructItem]) -> list[Query]:
    """The last turn of each. The model's own layout writes it as it will in use: the original showed other words in
    training than in evaluation, and others again in its demo."""
    return [item.to_example().query for item in items]


def _targets(items: Sequence[InstructItem], spans: dict[str, tuple[float, float]]) -> Tensor:
    return torch.tensor([[spans[item.id]] for item in items], dtype=torch.float64)


def collate_spans(model: VideoLanguageModel, spans: dict[str, tuple[float, float]], items: list[InstructItem]) -> Any:
    """TG: motion, question and spans; no picture is decoded for the tower."""
    with model.processor.prepare(_queries(items), cache=model.cache) as prepared:
        return prepared.moments(target_spans=_targets(items, spans))


def collate_joint(
    model: VideoLanguageModel, spans: dict[str, tuple[float, float]], items: list[InstructItem]
) -> ModelInputs:
    """SF: as TG, and all candidates' pictures, and the answers."""
    k = model.spec.streams["video"].need.num_frames or 1
    with model.processor.prepare(_queries(items), cache=model.cache) as prepared:
        selection = every_candidate(prepared, k, limit=model.spec.selector.num_candidates)
        answers = [item.answer for item in items]
        return model.processor.fetch(
            prepared, selection, targets=answers, target_spans=_targets(items, spans), cache=model.cache
        )


@dataclass(frozen=True)
class Conversations:
    """A batch of IV and IVT: items with media, one kind of medium each, and texts."""

    with_media: tuple[ModelInputs, ...]
    texts: PromptPlan | None = None
    text_answers: TextTokens | None = None
    counts: tuple[int, ...] = ()  # target tokens of each part, the texts last

    def to(self, device: Any) -> Conversations:
        """On another device."""
        moved = [None if part is None else part.to(device) for part in (self.texts, self.text_answers)]
        return Conversations(tuple(inputs.to(device) for inputs in self.with_media), *moved, counts=self.counts)


def collate_conversations(model: VideoLanguageModel, items: list[InstructItem]) -> Conversations:
    """IV and IVT: pictures at the moments that the bridge chooses; texts go to the language model alone."""
    kinds = {kind: [item for item in items if item.kind == kind] for kind in ("video", "image", "text")}
    seen = [kinds[kind] for kind in ("video", "image") if kinds[kind]]
    with_media = tuple(
        model.processor(_queries(part), targets=[item.answer for item in part], cache=model.cache) for part in seen
    )
    counts = tuple(inputs.num_target_tokens for inputs in with_media)
    if not kinds["text"]:
        return Conversations(with_media, counts=counts)
    plan, answers = _plan_texts(model, kinds["text"])
    learned = ModelInputs({}, {}, plan, len(kinds["text"]), (), target=answers).num_target_tokens
    return Conversations(with_media, plan, answers, (*counts, learned))


def _plan_texts(model: VideoLanguageModel, items: list[InstructItem]) -> tuple[PromptPlan, TextTokens | None]:
    tokenizer, is_seq2seq = model.processor.tokenizers["language"], model.spec.language_model.kind == "seq2seq"
    words = Text(text="USER: {question} ASSISTANT: ")
    parts = (words, Special(token="eos")) if is_seq2seq else (Special(token="bos", if_any=True), words)
    layout = TemplateLayout(parts=parts, on_overflow="truncate")
    # Nothing is opened: a query needs a clip by name, and the layout has no place for its tokens.
    queries = [Query.about(Clip("none"), item.turns[-1][0]) for item in items]
    answers = [item.answer for item in items]
    plan = layout.plan(queries, tokenizer, {}, None if is_seq2seq else answers)
    return plan, layout.target_tokens(queries, answers, tokenizer) if is_seq2seq else None


@dataclass(frozen=True)
class ConversationLoss:
    """The answers' loss of a mixed batch: the mean over all its target tokens."""

    def means(self, batch: Conversations) -> dict[str, MeanOver]:
        """Terms of the loss, see `vidweave.types.Objective`."""
        return {"loss": MeanOver(sum(batch.counts))}

    def __call__(self, model: VideoLanguageModel, batch: Conversations) -> dict[str, Tensor]:
        losses = [AnswerLoss()(model, inputs)["loss"] for inputs in batch.with_media]
        if batch.texts is not None:
            language = model.language_model
            losses.append(language.loss(splice(batch.texts, {}, language.embed, language.side), batch.text_answers))
        weights = torch.tensor(batch.counts, dtype=torch.float32, device=losses[0].device)
        return {"loss": (torch.stack(losses) * weights).sum() / weights.sum()}


# -- parts -------------------------------------------------------------------------------------------------------


def _with_rate(settings: AdamWSettings, rate: float) -> AdamWSettings:
    return AdamWSettings(**{**asdict(settings), "lr": rate})


def _train_through(model: VideoLanguageModel, way: str) -> None:
    """Set what training mixes; it is no weight, so it is set on the model that is there."""
    model.selector.config = replace(model.selector.config, train_through=way)


def _finish(model: VideoLanguageModel, out: Path) -> dict[str, Any]:
    """Write the model, adapters merged."""
    merged = merge_lora(model.language_model)
    model.save_pretrained(out / "model")
    return {"merged": merged}
