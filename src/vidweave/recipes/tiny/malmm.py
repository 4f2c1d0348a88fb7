"""tiny-malmm: a memory over long clips, taught what came when, then to answer through a language model that stays as it is.

    vidweave train tiny/malmm --out runs/tiny-malmm
    vidweave train tiny/malmm --out runs/tiny-malmm-fifo row=fifo

The eye (tiny-rgb) and the language model (tiny-llama) are frozen. Clips are encoded once, each distinct picture once, and
since the way into the memory is frozen too (whitened features and a code of time), each clip's memory is filled once as
well: a training step costs no more than looking at a short clip. Stages:

1. the connector's tokens tell what came when and how often, and, the last one, the answer to a question;
2. what the frozen language model has to be told to say an answer is found without any clip: tokens that are always the
   same, and a last one for each answer (a minute; through the language model and the connector at once, the same was
   barely begun after 200 steps);
3. the connector learns to speak so: its last layer is set by least squares, then all of it goes on learning.

`row` is the policy of the memory (`systems.malmm.tiny.ROWS`): the rows of the claim, alike in everything else. `features`
names a folder in which several rows share the encoded clips.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from vidweave.connectors.memory import MemoryState
from vidweave.connectors.qformer_memory import Projected, QFormerMemory
from vidweave.encoders.tiny import PIXELS, WIDTH
from vidweave.errors import ConfigError
from vidweave.language.splice import splice
from vidweave.language.tokenizer import load_tokenizer
from vidweave.media.plan import plan_frames
from vidweave.media.preprocess import apply
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.assets import asset_folder
from vidweave.model.bases import base_state
from vidweave.model.cache import module_fingerprint
from vidweave.model.processor import Processor
from vidweave.nn.bank import Bank, append_, empty_bank, shorten_
from vidweave.systems.malmm.tiny import QUERIES, ROWS, tiny_malmm_row
from vidweave.tiny.asset_files import write_facts
from vidweave.tiny.long_clips import (
    ANSWERS,
    LONG_FAMILIES,
    LongQuestion,
    LongQuestions,
    distinct_frames,
)
from vidweave.tiny.visit_labels import VisitLabels, collate_visits, visit_heads
from vidweave.tiny.whitening import whitening
from vidweave.toyworld.questions import question
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import ToyScene, sample_scene
from vidweave.toyworld.splits import split_seed
from vidweave.training.schedule import Schedule
from vidweave.training.stages import AdamWSettings, Pass, Run, Stage
from vidweave.types import Blocks, Clip, MeanOver, PrecomputedFeatures, PromptPlan, Query, TextTokens

__all__ = [
    "AnswerBatch",
    "Encoded",
    "LongBatch",
    "LongRoot",
    "Memories",
    "PromptBatch",
    "Settings",
    "Telling",
    "accuracy",
    "recipe",
]

BASES = {"encoders.rgb": "tiny-rgb", "language_model": "tiny-llama"}
CONNECTOR = (
    "model.connector.trunks.*",
    "model.connector.ports.video.query_tokens",
    "model.connector.ports.video.output_proj.*",
)
AT_ONCE = 100  # clips whose memories are filled together


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Sizes and lengths; the defaults made the shipped models."""

    row: str = "memory"
    seed: int = 0
    clips: int = 2000
    visit_steps: int = 600
    telling_steps: int = 120
    answer_steps: int = 200
    batch: int = 48
    learning_rate: float = 2e-3
    evaluation_examples: int = 30
    features: str = ""


class Telling(nn.Module):
    """Tokens that make the language model say an answer: all but the last are the same for every answer."""

    def __init__(self) -> None:
        super().__init__()
        self.always = nn.Parameter(2 * torch.randn(QUERIES - 1, WIDTH))
        self.answers = nn.Parameter(2 * torch.randn(len(ANSWERS), WIDTH))

    def forward(self, answer: Tensor) -> Tensor:
        """answer (B,) → tokens (B, Q, D)."""
        return torch.cat([self.always.expand(len(answer), -1, -1), self.answers[answer][:, None]], 1)


class LongRoot(nn.Module):
    """The model, and what is thrown away afterwards: readers of its tokens, and tokens to learn from."""

    def __init__(self, model: VideoLanguageModel) -> None:
        super().__init__()
        self.model = model
        self.visit_heads = visit_heads(WIDTH)
        self.telling = Telling()


def recipe(**overrides: Any) -> Run:
    """The run; `overrides` are fields of Settings."""
    s = Settings(**overrides)
    if s.row not in ROWS:
        raise ConfigError(f"row must be one of {', '.join(ROWS)}, got {s.row!r}")
    root = LongRoot(_new_model(s.row))
    source = _Shared(partial(_remembered, clips=s.clips, folder=s.features))
    cosine = Schedule("cosine", warmup_steps=100, min_lr_ratio=0.02)
    common = {
        "examples": source,
        "batch_size": s.batch,
        "passes": (Pass("connector", CONNECTOR),),
        "schedule": cosine,
        "precision": "bf16-mixed",
    }
    optimizer = partial(AdamWSettings, weight_decay=0.01, betas=(0.9, 0.98))
    stages = [
        Stage(
            name="visits",
            objective=_WhatCameWhen(),
            collate=partial(_collate, root.model, source),
            steps=s.visit_steps,
            optimizer=optimizer(lr=s.learning_rate),
            share=1,
            **{**common, "passes": (Pass("connector", (*CONNECTOR, "visit_heads.*")),)},
        ),
        Stage(
            name="telling",
            objective=_Told(),
            examples=LongQuestions(s.clips),
            collate=partial(_collate_prompts, root.model),
            passes=(Pass("tokens", ("telling.*",)),),
            steps=s.telling_steps,
            batch_size=s.batch,
            optimizer=AdamWSettings(lr=0.1, weight_decay=0.0),
            schedule=replace(cosine, warmup_steps=0),
            share=0.2,
        ),
        Stage(
            name="answers",
            objective=_Tells(),
            collate=partial(_collate_answers, root.model, source),
            steps=s.answer_steps,
            optimizer=optimizer(lr=s.learning_rate / 2),
            share=0.5,
            **{**common, "examples": partial(_speaking, source), "schedule": replace(cosine, warmup_steps=20)},
        ),
    ]
    name = "tiny-malmm" if s.row == "memory" else f"tiny-malmm-{s.row}"
    finish = partial(_finish, source=source, name=name, examples=s.evaluation_examples, settings=asdict(s))
    facts = {key: value for key, value in asdict(s).items() if key != "features"}
    return Run(name=name, model=root, stages=stages, seed=s.seed, finish=finish, config=facts)


def accuracy(root: LongRoot, examples: int) -> dict[str, float]:
    """Share of right answers per family of long questions, on scenes of the validation split, as a user would ask."""
    found: dict[str, float] = {}
    scenes = [sample_scene(split_seed("validation", i), length="long") for i in range(examples)]
    clips = [Clip(_features(root.model, scene)) for scene in scenes]
    for family in LONG_FAMILIES:
        rng = np.random.default_rng(5)
        asked = [(clip, q) for clip, scene in zip(clips, scenes, strict=True) if (q := question(scene, family, rng))]
        queries = [Query.about(clip, q.text, q.options) for clip, q in asked]
        answers = [a for i in range(0, len(queries), 25) for a in root.model.answer(queries[i : i + 25], trace=False)]
        found[family] = sum(a.text == q.answer for a, (_, q) in zip(answers, asked, strict=True)) / max(1, len(asked))
    return found


# -- the model before training -----------------------------------------------------------------------------------


@torch.no_grad()
def _new_model(row: Any) -> VideoLanguageModel:
    """Frozen parts as they are shipped; a connector that has learnt nothing."""
    config = tiny_malmm_row(row)
    model = VideoLanguageModel(config)
    state = {
        key: t for root, name in BASES.items() for key, t in base_state(root, {"source": name}, model, Path()).items()
    }
    model.load_state_dict({key: t.float() for key, t in state.items()}, strict=False)
    model.tie_weights()
    folder = asset_folder(BASES["language_model"])
    assert folder is not None
    model.processor = Processor(config, {"language": load_tokenizer(folder)})
    # A Q-Former this narrow starts an order of magnitude too quietly by BERT's rule, which is made for 768.
    for module in model.connector.trunks.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=WIDTH**-0.5)
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.3)
    port = model.connector.ports["video"]
    port.time_embedding.copy_(_time_code(*port.time_embedding.shape))
    return model


def _time_code(rows: int, width: int, strength: float = 0.35) -> Tensor:
    """(rows, width) waves of six lengths in directions of their own; `strength` is their norm beside that of normed
    features: enough to be read, too little to decide which neighbours are alike."""
    time = torch.arange(rows) / rows
    waves = [f(2 * torch.pi * k * time) for k in (0.25, 0.5, 1, 2, 4, 8) for f in (torch.sin, torch.cos)]
    code = torch.stack(waves, 1)
    directions, _ = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(7)))
    code = code @ directions[: code.shape[1]]
    return strength * width**0.5 * code / code.norm(dim=1, keepdim=True).mean()


# -- clips, encoded once and remembered once -----------------------------------------------------------------------


@dataclass(frozen=True)
class Memories:
    """What each clip's memory holds before its last picture: entries (clips, S, N, C) in half precision with their sizes
    (clips, S, N), and the newest group (clips, N, C)."""

    questions: LongQuestions
    values: Tensor
    size: Tensor
    newest: Tensor

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, index: int) -> LongQuestion:
        return self.questions[index]


class _Shared:
    """One set of memories for both stages; `_collate` asks it too."""

    def __init__(self, make: Callable[[LongRoot], Memories]) -> None:
        self._make = make
        self.made: Memories | None = None

    def __call__(self, root: LongRoot) -> Memories:
        self.made = self.made or self._make(root)
        return self.made


@dataclass(frozen=True)
class Encoded:
    """Features of a clip's distinct pictures (n, N, C) in half precision, and which of them each picture equals (T,)."""

    features: Tensor
    where: Tensor


def _remembered(root: LongRoot, *, clips: int, folder: str) -> Memories:
    questions, model = LongQuestions(clips), root.model
    encoded = _encoded(model, questions.scenes, folder)
    _whiten(model, encoded[:64])
    parts = [_remember(model, encoded[i : i + AT_ONCE]) for i in range(0, clips, AT_ONCE)]
    return Memories(questions, *(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


@torch.no_grad()
def _encode(model: VideoLanguageModel, scene: ToyScene) -> Encoded:
    times = np.arange(scene.num_frames) / scene.fps
    plan = plan_frames({"video": model.spec.streams["video"].need}, times, scene.duration_seconds)
    frames, where = distinct_frames(scene, plan.indices[plan.streams["video"]])
    pixels, _ = apply(PIXELS, render(scene, "video", frames=frames))
    features = model.encoders["rgb"].encode(pixels[None, :, None], "video")[0]
    return Encoded(features.half(), torch.from_numpy(where.astype(np.uint8)))


def _features(model: VideoLanguageModel, scene: ToyScene) -> PrecomputedFeatures:
    """A clip as features, a group per picture."""
    encoded = _encode(model, scene)
    count = len(encoded.where)
    step = scene.duration_seconds / count
    seconds = np.stack([np.arange(count), np.arange(1, count + 1)], 1) * step
    return PrecomputedFeatures(encoded.features[encoded.where.long()].numpy(), seconds.astype(np.float32))


def _encoded(model: VideoLanguageModel, scenes: list[ToyScene], folder: str) -> list[Encoded]:
    """All clips encoded, or read from `folder` where another row has left them."""
    need = model.spec.streams["video"].need
    name = f"long-{len(scenes)}-{need.num_frames}-{module_fingerprint(model.encoders['rgb'])[:12]}.safetensors"
    file = Path(folder) / name if folder else None
    if file is None or not file.is_file():
        made = [_encode(model, scene) for scene in scenes]
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            count = torch.tensor([len(e.features) for e in made])
            where = torch.stack([e.where for e in made])
            save_file({"features": torch.cat([e.features for e in made]), "count": count, "where": where}, file)
        return made
    held = load_file(file)
    return [Encoded(*pair) for pair in zip(held["features"].split(held["count"].tolist()), held["where"], strict=True)]


@torch.no_grad()
def _whiten(model: VideoLanguageModel, encoded: list[Encoded]) -> None:
    weight, bias = whitening(torch.cat([e.features for e in encoded]).float().flatten(0, 1))
    port = model.connector.ports["video"]
    port.input_proj.weight.copy_(weight)
    port.input_proj.bias.copy_(bias)


@torch.no_grad()
def _remember(model: VideoLanguageModel, encoded: list[Encoded]) -> tuple[Tensor, Tensor, Tensor]:
    """Entries in time and their sizes after all groups but the last, and the last group, of some clips."""
    port, rule = model.connector.ports["video"], model.spec.connector.trunks["qformer"].memory.rule()
    keys = [port.input_norm(port.input_proj(e.features.float())) for e in encoded]
    groups, (tokens, width) = len(encoded[0].where), keys[0].shape[1:]
    bank = empty_bank(len(encoded), rule.limit, tokens, width, keys[0])

    def group(number: int) -> Tensor:
        seen = torch.stack([k[int(e.where[number])] for k, e in zip(keys, encoded, strict=True)])
        return seen + port.time_embedding[number]

    for number in range(groups - 1):
        bank, _ = append_(bank, group(number), None, rule)
        bank, _ = shorten_(bank, rule)
    values, size = bank.in_time()
    return values.half(), size, group(groups - 1).half()


# -- batches and objectives ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LongBatch:
    """One question about each of B clips: their memories, the question as the Q-Former reads it, and dense labels."""

    values: Tensor
    size: Tensor
    newest: Tensor
    text: TextTokens
    labels: dict[str, Tensor]

    def to(self, device: Any) -> LongBatch:
        tensors = {name: getattr(self, name).to(device) for name in ("values", "size", "newest", "text")}
        return LongBatch(**tensors, labels={name: truth.to(device) for name, truth in self.labels.items()})

    def look(self, root: LongRoot) -> dict[str, Blocks]:
        """The connector's tokens, read from the memories as from any other state."""
        connector, (rows, slots, tokens) = root.model.connector, self.size.shape
        item = torch.arange(rows, device=self.size.device)
        length = self.size.new_full((rows, tokens), slots - 1, dtype=torch.long)
        bank = Bank(
            values=self.values.float(),
            size=self.size,
            order=torch.arange(slots, device=item.device)[None, :, None].expand_as(self.size),
            length=length,
            similarity=self.size.new_zeros(rows, max(0, slots - 1), tokens),
            filled=None,
        )
        count = torch.full_like(item, 1)
        layers = len(connector.trunks["qformer"].layers)
        memory = QFormerMemory(Projected(bank), (None,) * layers, count)
        mask = torch.ones(rows, tokens, dtype=torch.bool, device=item.device)
        seconds = self.newest.new_zeros(rows, 2, dtype=torch.float32)
        pending = MemoryState(memory=memory, keys=self.newest.float(), mask=mask, seconds=seconds, count=count)
        state = connector.begin(item, torch.zeros_like(item), self.text)
        return connector.read(replace(state, memories={"qformer": pending}))[0]


def _collate(model: VideoLanguageModel, source: _Shared, examples: list[LongQuestion]) -> LongBatch:
    assert source.made is not None
    rows = torch.tensor([example.clip for example in examples])
    texts = [example.question.text for example in examples]
    made = source.made
    return LongBatch(
        made.values[rows],
        made.size[rows],
        made.newest[rows],
        model.processor.read_text("trunk", texts),
        collate_visits([example.labels for example in examples]),
    )


@dataclass(frozen=True)
class PromptBatch:
    """Prompts with their answers, and which of ANSWERS each is (B,)."""

    plan: PromptPlan
    answer: Tensor

    def to(self, device: Any) -> PromptBatch:
        return PromptBatch(self.plan.to(device), self.answer.to(device))


def _collate_prompts(model: VideoLanguageModel, examples: list[LongQuestion]) -> PromptBatch:
    queries = [Query.about(Clip("never seen"), example.question.text) for example in examples]
    groups = {("video", item, 0): 1 for item in range(len(examples))}
    answers = [example.question.answer for example in examples]
    plan = model.spec.layout.plan(queries, model.processor.tokenizers["language"], groups, answers)
    return PromptBatch(plan, torch.tensor([ANSWERS.index(answer) for answer in answers]))


class _WhatCameWhen:
    """The connector alone."""

    def means(self, batch: LongBatch) -> dict[str, MeanOver]:
        return VisitLabels().means(batch.labels)

    def __call__(self, root: LongRoot, batch: LongBatch) -> dict[str, Tensor]:
        return VisitLabels()(root, batch.look(root), batch.labels)


@dataclass(frozen=True)
class _Told:
    """The language model says the answer that it is told, though not quite in these words: `noise` is the strength of what
    is added to them beside their own, since no connector will hit them exactly."""

    noise: float = 0.5

    def __call__(self, root: LongRoot, batch: PromptBatch) -> dict[str, Tensor]:
        told, index = root.telling(batch.answer), torch.arange(len(batch.answer))
        tokens = (told + self.noise * told.detach().std() * torch.randn_like(told))[:, None]
        mask = torch.ones(tokens.shape[:3], dtype=torch.bool)
        blocks = {"video": Blocks(tokens, mask, torch.zeros(len(index), 1, 2), index, torch.zeros_like(index))}
        language_model = root.model.language_model
        return {"loss": language_model.loss(splice(batch.plan, blocks, language_model.embed, language_model.side))}


@dataclass(frozen=True)
class AnswerBatch:
    """The same questions as the connector and as the language model read them."""

    clips: LongBatch
    prompts: PromptBatch

    def to(self, device: Any) -> AnswerBatch:
        return AnswerBatch(self.clips.to(device), self.prompts.to(device))


def _collate_answers(model: VideoLanguageModel, source: _Shared, examples: list[LongQuestion]) -> AnswerBatch:
    return AnswerBatch(_collate(model, source, examples), _collate_prompts(model, examples))


class _Tells:
    """The connector's tokens become those that the language model has to be told, and it says the answer.

    Errors are in units of the tokens' variance. The last token is compared with every answer's, so that it comes nearer
    to the right one than to any other.
    """

    def __call__(self, root: LongRoot, batch: AnswerBatch) -> dict[str, Tensor]:
        blocks, answer, language_model = batch.clips.look(root), batch.prompts.answer, root.model.language_model
        target, tokens = root.telling(answer).detach(), blocks["video"].values[:, 0].float()
        told = functional.mse_loss(tokens, target) / target.var()
        away = torch.cdist(tokens[:, -1], root.telling.answers.detach()).square() / WIDTH
        right = functional.cross_entropy(-away, answer)
        said = language_model.loss(splice(batch.prompts.plan, blocks, language_model.embed, language_model.side))
        return {"loss": told + right + 2 * said, "told": told, "right": right, "said": said}


def _speaking(source: _Shared, root: LongRoot, *, batches: int = 12, ridge: float = 1e-2) -> Memories:
    """The memories, after the connector's last layer was set to tell what the language model has to be told as well as a
    linear layer can; one that tells it already (of a run that is resumed) is left as it is."""
    made, layer, seen = source(root), root.model.connector.ports["video"].output_proj, []
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().flatten(0, 1)))
    loaded = [_collate_answers(root.model, source, [made[48 * b + i] for i in range(48)]) for b in range(batches)]
    with torch.enable_grad():  # a memory that was stored has no projections beside it
        told = [float(_Tells()(root, batch)["told"].detach()) for batch in loaded]
    hook.remove()
    if sum(told) / batches > 0.5:
        hidden = torch.cat(seen).float()
        hidden = torch.cat([hidden, torch.ones(len(hidden), 1)], 1)
        wanted = torch.cat([root.telling(batch.prompts.answer).detach().flatten(0, 1) for batch in loaded])
        gram = hidden.T @ hidden / len(hidden) + ridge * torch.eye(hidden.shape[1])
        solved = torch.linalg.solve(gram, hidden.T @ wanted / len(hidden))
        with torch.no_grad():
            layer.weight.copy_(solved[:-1].T)
            layer.bias.copy_(solved[-1])
    return made


# -- results -------------------------------------------------------------------------------------------------------


def _finish(
    root: LongRoot, out: Path, *, source: _Shared, name: str, examples: int, settings: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Write the connector beside the names of its bases."""
    source(root)  # a run that is resumed at its end has not whitened its features yet
    model = root.model.half().float().eval()  # as it will be read back
    figures = accuracy(root, examples)
    folder = out / "assets" / name
    model.half().save_pretrained(folder, bases=BASES)
    model.float()
    kept = {key: value for key, value in settings.items() if key != "features"}
    write_facts(folder / "asset.json", __file__, out, {**kept, "figures": figures})
    return figures
