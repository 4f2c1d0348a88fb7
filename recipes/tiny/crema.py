"""tiny-crema: seven more senses for tiny-base, each by an adapter port of its own into the frozen Q-Former.

    vidweave train recipes/tiny/crema.py --out runs/tiny-crema

Everything of tiny-base stays frozen, and so do the senses' encoders (recipes/tiny/senses.py). A sense learns its port (input
projection, norm, query tokens, low-rank change of the Q-Former, output projection) and its matrix of the fusion, and no
parameter belongs to two of them. Stages: every clip comes with video and one sense, so that each sense learns from its own
questions alone; then clips come with several, and questions of every family, so that they learn to bear one another.

A port does not begin at random: it is the eye's, and its input projection is the linear map under which the sense's tokens
resemble what the eye sees at the same place, so that the frozen Q-Former finds its objects at once. Directly told what each
token is to say (`SenseSlots`), it then learns to say it in the language model's terms.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import vidweave
from vidweave.data.toy_senses import SENSE_SLOTS, slot_labels
from vidweave.data.toy_training import ClipExample, ClipQuestions, train_scene
from vidweave.data.toyworld import ToyQuestions
from vidweave.language.splice import splice
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.bases import base_state
from vidweave.model.growth import parameters_of
from vidweave.nn.whitening import whitening
from vidweave.systems.tiny.crema import SENSES, tiny_crema
from vidweave.toyworld.questions import FAMILIES, families
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import ToyScene
from vidweave.training.schedule import Schedule
from vidweave.training.slots import SenseSlots, slot_heads
from vidweave.training.stages import AdamWSettings, Pass, Run, Stage
from vidweave.types import Clip, Features, PrecomputedFeatures, PromptPlan, Query

BASES = {
    "encoders.rgb": "tiny-rgb",
    "encoders.pictures": "tiny-pictures",
    "encoders.sound": "tiny-sound",
    "encoders.points": "tiny-points",
    "connector.trunks.qformer": "tiny-base",
    "connector.ports.video": "tiny-base",
    "language_model": "tiny-llama",
}
ASKED = "What is there?"  # whatever is asked, features are the same


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Sizes and lengths; the defaults made the shipped model."""

    seed: int = 0
    rank: int = 8
    alone_steps: int = 500
    together_steps: int = 200
    clips: int = 1_000
    rows_per_step: int = 64
    questions_per_clip: int = 2
    learning_rate: float = 2e-3
    evaluation_examples: int = 20


class CremaRoot(nn.Module):
    """The model, and heads that are thrown away afterwards."""

    def __init__(self, model: VideoLanguageModel) -> None:
        super().__init__()
        self.model = model
        self.slot_heads = slot_heads(model.spec.connector.output_width)


def recipe(**overrides: Any) -> Run:
    """The run; `overrides` are fields of Settings."""
    s = Settings(**overrides)
    torch.manual_seed(s.seed)
    model = _beginning(s)
    root = CremaRoot(model)
    known: dict[int, Any] = {}
    own = [f"model.{name}" for sense in SENSES for name in parameters_of(model, sense)]
    common: dict[str, Any] = {
        "objective": AboutSenses(),
        "passes": (Pass("ports", (*own, "slot_heads.*")),),
        "batch_size": s.rows_per_step // s.questions_per_clip,
        "optimizer": AdamWSettings(lr=s.learning_rate, weight_decay=0.01, betas=(0.9, 0.98)),
    }
    stages = [
        Stage(
            name="alone",
            examples=_Clips(s, _of_senses(), known),
            collate=partial(_collate, model, 0.0),
            steps=s.alone_steps,
            schedule=Schedule("cosine", warmup_steps=50, min_lr_ratio=0.1),
            share=2,
            **common,
        ),
        Stage(
            name="together",
            examples=_Clips(s, [*_of_senses(), *_of_senses(), *_general()], known),
            collate=partial(_collate, model, 0.5),
            steps=s.together_steps,
            schedule=Schedule("cosine", warmup_steps=20, min_lr_ratio=0.02),
            share=1,
            **common,
        ),
    ]
    return Run(
        name="tiny-crema",
        model=root,
        stages=stages,
        seed=s.seed,
        finish=partial(_finish, settings=asdict(s)),
        config=asdict(s),
    )


def accuracy(root: CremaRoot, *, examples: int, seed: int = 0) -> dict[str, float]:
    """Share of right answers per family of short clips with all senses at once, on scenes of the test split."""
    asked = ToyQuestions(seed, examples, families=[*_general(), *_of_senses()], modalities=("video", *SENSES))
    right: dict[str, list[bool]] = {name: [] for name in dict.fromkeys(asked.families)}
    for start in range(0, len(asked), 64):
        batch = [asked[i] for i in range(start, min(start + 64, len(asked)))]
        answers = root.model.answer([example.query for example in batch], trace=False)
        for example, answer in zip(batch, answers, strict=True):
            right[example.family].append(answer.text == example.truth)
    return {name: sum(found) / len(found) for name, found in right.items()}


def _general() -> list[str]:
    return list(families(needs={"video"}, scope="short", encoder="general"))


def _of_senses() -> list[str]:
    """Families that take another sense than the eye."""
    return [name for name, family in FAMILIES.items() if family.scope == "short" and family.needs & set(SENSES)]


# -- where it begins ---------------------------------------------------------------------------------------------


def _beginning(s: Settings) -> VideoLanguageModel:
    """Frozen bases, and ports that begin where the eye's is."""
    base = vidweave.load("tiny-base")
    config = tiny_crema(rank=s.rank)
    model = VideoLanguageModel(config)
    model.processor = base.processor.for_config(config)
    for root, asset in BASES.items():
        state = base_state(root, {"source": asset}, model, Path())
        model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=False)
    model.connector.fusion.bias.data.zero_()
    model.eval()
    clips = [_encode(model, train_scene(i)) for i in range(48)]
    ports: Any = model.connector.ports
    for sense in SENSES:
        _begin_port(ports["video"], ports[sense], [clip["video"] for clip in clips], [clip[sense] for clip in clips])
    return model


@torch.no_grad()
def _begin_port(eye: Any, port: Any, pictures: Sequence[Any], values: Sequence[Any]) -> None:
    """The eye's queries, norm and output; an input projection that makes of the sense's tokens the keys of the eye's
    tokens at the same places, as far as a linear map can. A sense without places begins with whitened tokens."""
    for name in ("query_tokens", "input_norm.weight", "input_norm.bias", "output_proj.weight", "output_proj.bias"):
        port.get_parameter(name).copy_(eye.get_parameter(name))
    seen = torch.from_numpy(np.stack([c.values for c in pictures])).float()  # (clips, T, N, C)
    felt = torch.from_numpy(np.stack([c.values for c in values])).float()
    step = seen.shape[1] // felt.shape[1]
    port.time_embedding[: felt.shape[1]].copy_(eye.time_embedding[step - 1 : seen.shape[1] : step])
    if port.name in ("touch", "audio"):
        weight, bias = whitening(felt.flatten(0, 2))
        spread = nn.init.orthogonal_(torch.empty(len(port.input_proj.weight), len(weight)))
        weight, bias = spread @ weight, spread @ bias
    else:
        keys = eye.input_proj(seen)
        keys = keys[:, step - 1 :: step] if felt.shape[1] > 1 else keys.mean(1, keepdim=True)
        weight, bias = _linear_map(felt.flatten(0, 2), keys.flatten(0, 2))
    port.input_proj.weight.copy_(weight)
    port.input_proj.bias.copy_(bias)


def _linear_map(given: Tensor, wanted: Tensor, ridge: float = 1e-2) -> tuple[Tensor, Tensor]:
    """Weight (O, I) and bias (O,) of the ridge regression of `wanted` (N, O) on `given` (N, I)."""
    mean, target = given.mean(0), wanted.mean(0)
    centred = given - mean
    gram = centred.T @ centred / len(given)
    gram = gram + ridge * gram.diagonal().mean() * torch.eye(len(gram))
    weight = torch.linalg.solve(gram, centred.T @ (wanted - target) / len(given)).T
    return weight, target - weight @ mean


# -- questions about clips ---------------------------------------------------------------------------------------


class _Clips:
    """A source that is made when its stage begins; stages share the clips that were encoded."""

    def __init__(self, settings: Settings, names: Sequence[str], known: dict[int, Any]) -> None:
        self._settings, self._names, self._known = settings, names, known

    def __call__(self, root: CremaRoot) -> ClipQuestions:
        s = self._settings
        source = ClipQuestions(s.clips, self._names, partial(_encode, root.model), per_clip=s.questions_per_clip)
        source._known = self._known
        return source


@torch.no_grad()
def _encode(model: VideoLanguageModel, scene: ToyScene) -> dict[str, Any]:
    """Stream → features of a scene in half precision, and what each sense's tokens are to tell (`slots`)."""
    clip = Clip(**{name: render(scene, name) for name in ("video", *SENSES)})
    inputs = model.processor(Query.about(clip, ASKED))
    told: dict[str, Any] = {"slots": slot_labels(scene)}
    for name, stream in inputs.streams.items():
        features = model.encode_stream(name, stream)
        told[name] = PrecomputedFeatures(features.values[0].half().numpy(), features.seconds[0].numpy())
    return told


@dataclass(frozen=True)
class SenseBatch:
    """One row per question: features of the senses that the row has, its prompt, and what the senses' tokens are to tell."""

    features: dict[str, Features]
    item: Tensor
    prompts: PromptPlan
    slots: dict[str, dict[str, Tensor]]

    def to(self, device: Any) -> SenseBatch:
        features = {name: f.to(device) for name, f in self.features.items()}
        slots = {sense: {n: label.to(device) for n, label in told.items()} for sense, told in self.slots.items()}
        return SenseBatch(features, self.item.to(device), self.prompts.to(device), slots)


def _collate(model: VideoLanguageModel, others: float, examples: list[ClipExample]) -> SenseBatch:
    """Each question with the senses that it needs, and each other one with probability `others`."""
    rows = [(example.clip, question) for example in examples for question in example.questions]
    rng = np.random.default_rng([len(rows), *(ord(c) for _, q in rows for c in q.text[-12:])])
    has = [{m for m in SENSES if m in q.needs or rng.random() < others} for _, q in rows]
    has = [senses or {SENSES[int(rng.integers(len(SENSES)))]} for senses in has]  # video alone has nothing to learn
    features = {"video": _features([(i, clip["video"]) for i, (clip, _) in enumerate(rows)])}
    for sense in SENSES:
        if found := [(i, clip[sense]) for i, (clip, _) in enumerate(rows) if sense in has[i]]:
            features[sense] = _features(found)
    return SenseBatch(features, torch.arange(len(rows)), _prompts(model, rows), _slots(rows, has))


def _features(rows: Sequence[tuple[int, PrecomputedFeatures]]) -> Features:
    values = torch.from_numpy(np.stack([f.values for _, f in rows])).float()
    seconds = torch.from_numpy(np.stack([f.seconds for _, f in rows]))
    item = torch.tensor([i for i, _ in rows])
    return Features(values, torch.ones(values.shape[:3], dtype=torch.bool), seconds, item, torch.zeros_like(item))


def _prompts(model: VideoLanguageModel, rows: Sequence[tuple[Any, Any]]) -> PromptPlan:
    queries = [Query.about(Clip(video=clip["video"]), question.text) for clip, question in rows]
    groups = {("video", item, 0): 1 for item in range(len(rows))}
    tokenizer = model.processor.tokenizers["language"]
    return model.spec.layout.plan(queries, tokenizer, groups, [question.answer for _, question in rows])


def _slots(rows: Sequence[tuple[Any, Any]], has: Sequence[set[str]]) -> dict[str, dict[str, Tensor]]:
    told: dict[str, dict[str, Tensor]] = {}
    for sense, table in SENSE_SLOTS.items():
        if not any(sense in senses for senses in has):
            continue
        nothing = [-100] * table.count
        told[sense] = {
            name: torch.tensor(
                [c["slots"][sense][name] if sense in s else nothing for (c, _), s in zip(rows, has, strict=True)]
            )
            for name in table.classes
        }
    return told


@dataclass(frozen=True)
class AboutSenses:
    """The answers to questions, and what each sense's tokens are to tell."""

    def __call__(self, root: CremaRoot, batch: SenseBatch) -> dict[str, Tensor]:
        blocks, _ = root.model.connector(batch.features, batch.item, torch.zeros_like(batch.item))
        language_model = root.model.language_model
        answers = language_model.loss(splice(batch.prompts, blocks, language_model.embed, language_model.side))
        slots = SenseSlots()(root, blocks, batch.slots)
        told = {"answers": answers, "slots": slots["loss"], "right": slots["right"]}
        return {"loss": answers + 0.3 * slots["loss"], **told}


# -- results -----------------------------------------------------------------------------------------------------


def _finish(root: CremaRoot, out: Path, *, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Write the asset: ports and fusion beside the names of their bases."""
    folder = out / "assets" / "tiny-crema"
    model = root.model.half().float().eval()
    figures = accuracy(root, examples=settings["evaluation_examples"], seed=1)
    model.half().save_pretrained(folder, bases=BASES)
    model.float()
    run = json.loads((out / "run.json").read_text())["hash"]
    facts = {"recipe": "recipes/tiny/crema.py", "run": run, **settings, "figures": figures}
    (folder / "asset.json").write_text(json.dumps(facts, indent=2) + "\n")
    return figures
