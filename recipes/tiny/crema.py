"""tiny-crema: seven more senses for tiny-base, each by an adapter port of its own into the frozen Q-Former.

    vidweave train recipes/tiny/crema.py --out runs/tiny-crema

The eye, the Q-Former and the senses' encoders (recipes/tiny/senses.py) stay frozen. A sense learns its port (input projection,
norm, query tokens, low-rank change of the Q-Former, output projection) and its matrix of the fusion, and no parameter belongs
to two of them. Stages:

`words`: the fused block has a token for each shape and one for sound. What a perfect sense would add to it before the gate is
known: the word of the shape and the word of what it tells. The language model learns to answer from such tokens beside the
video's, of any set of senses; each port learns to say its words, alone, from its own clips. The two do not meet.
`answers`: with the language model frozen, the ports learn from the answers, any set of senses together.

tiny-llama itself cannot be kept: it answers from fact sheets of other senses (0.8 to 0.9), but beside the tokens of a video it
reads nothing else, be it words or these tokens (at chance); 500 steps of ports alone against it, with the labels of every
token right at 99%, brought the answers to about 80%.

A port does not begin at random: it is the eye's, and its input projection is the linear map under which the sense's tokens
resemble what the eye sees at the same place, so that the frozen Q-Former finds its objects at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import vidweave
from vidweave.data.toy_training import ClipExample, ClipQuestions, train_scene
from vidweave.data.toyworld import ToyQuestions
from vidweave.language.splice import splice
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.bases import base_state
from vidweave.model.growth import parameters_of
from vidweave.nn.whitening import whitening
from vidweave.systems.tiny.crema import SENSES, tiny_crema
from vidweave.toyworld import attributes as a
from vidweave.toyworld.questions import FAMILIES, families
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import ToyScene
from vidweave.training.schedule import Schedule
from vidweave.training.stages import AdamWSettings, Pass, Run, Stage
from vidweave.types import Clip, Features, PrecomputedFeatures, PromptPlan, Query

BASES = {
    "encoders.rgb": "tiny-rgb",
    "encoders.pictures": "tiny-pictures",
    "encoders.sound": "tiny-sound",
    "encoders.points": "tiny-points",
    "connector.trunks.qformer": "tiny-base",
    "connector.ports.video": "tiny-base",
}
ASKED = "What is there?"  # whatever is asked, features are the same


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Sizes and lengths; the defaults made the shipped model."""

    seed: int = 0
    rank: int = 8
    words_steps: int = 300
    answers_steps: int = 100
    clips: int = 1_000
    rows_per_step: int = 64
    questions_per_clip: int = 2
    learning_rate: float = 2e-3
    evaluation_examples: int = 20


class CremaRoot(nn.Module):
    """The model, and the words that its fused tokens are made of: vectors of the language model as it came."""

    words: Tensor

    def __init__(self, model: VideoLanguageModel) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("words", _words(model), persistent=False)


def recipe(**overrides: Any) -> Run:
    """The run; `overrides` are fields of Settings."""
    s = Settings(**overrides)
    torch.manual_seed(s.seed)
    model = _beginning(s)
    root = CremaRoot(model)
    known: dict[int, Any] = {}
    own = [f"model.{name}" for sense in SENSES for name in parameters_of(model, sense)]
    common: dict[str, Any] = {
        "examples": _Clips(s, [*_of_senses(), *_of_senses(), *_general()], known),
        "batch_size": s.rows_per_step // s.questions_per_clip,
        "optimizer": AdamWSettings(lr=s.learning_rate, weight_decay=0.01, betas=(0.9, 0.98)),
    }
    stages = [
        Stage(
            name="words",
            objective=Words(),
            collate=partial(_collate, model, 0.0),
            passes=(Pass("ports and language model", (*own, "model.language_model.*")),),
            steps=s.words_steps,
            schedule=Schedule("cosine", warmup_steps=20, min_lr_ratio=0.05),
            share=2,
            **common,
        ),
        Stage(
            name="answers",
            objective=Answers(),
            collate=partial(_collate, model, 0.6),
            passes=(Pass("ports", tuple(own)),),
            steps=s.answers_steps,
            schedule=Schedule("cosine", warmup_steps=10, min_lr_ratio=0.02),
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
    for root, asset in {**BASES, "language_model": "tiny-llama"}.items():
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
    """Stream → features of a scene in half precision, and what each sense is to say (`said`)."""
    clip = Clip(**{name: render(scene, name) for name in ("video", *SENSES)})
    inputs = model.processor(Query.about(clip, ASKED))
    told: dict[str, Any] = {"said": _said(scene)}
    for name, stream in inputs.streams.items():
        features = model.encode_stream(name, stream)
        told[name] = PrecomputedFeatures(features.values[0].half().numpy(), features.seconds[0].numpy())
    return told


@dataclass(frozen=True)
class SenseBatch:
    """One row per question: features of the senses that the row has, its prompt, which words each sense says of its clip, and
    whose words a language model that learns to read is given."""

    features: dict[str, Features]
    item: Tensor
    prompts: PromptPlan
    said: Tensor  # (B, senses, tokens, words) float: how often each word is in each token
    has: Tensor  # (B, senses) bool: what the row's features are of
    reads: Tensor  # (B, senses) bool: what the language model is given in words

    def to(self, device: Any) -> SenseBatch:
        features = {name: f.to(device) for name, f in self.features.items()}
        rest = (t.to(device) for t in (self.item, self.prompts, self.said, self.has, self.reads))
        return SenseBatch(features, *rest)


def _collate(model: VideoLanguageModel, others: float, examples: list[ClipExample]) -> SenseBatch:
    """Each question with the senses that it needs, and each other one with probability `others`."""
    rows = [(example.clip, question) for example in examples for question in example.questions]
    rng = np.random.default_rng([len(rows), *(ord(c) for _, q in rows for c in q.text[-12:])])
    has = [{m for m in SENSES if m in q.needs or rng.random() < others} for _, q in rows]
    has = [senses or {SENSES[int(rng.integers(len(SENSES)))]} for senses in has]  # video alone has nothing to learn
    reads = [
        {m for m in SENSES if m in q.needs or rng.random() < share}
        for (_, q), share in zip(rows, rng.random(len(rows)), strict=True)
    ]
    reads = [senses or {SENSES[0]} for senses in reads]
    features = {"video": _features([(i, clip["video"]) for i, (clip, _) in enumerate(rows)])}
    for sense in SENSES:
        if found := [(i, clip[sense]) for i, (clip, _) in enumerate(rows) if sense in has[i]]:
            features[sense] = _features(found)
    said = torch.from_numpy(np.stack([clip["said"] for clip, _ in rows]))
    flags = (torch.tensor([[m in senses for m in SENSES] for senses in sets]) for sets in (has, reads))
    return SenseBatch(features, torch.arange(len(rows)), _prompts(model, rows), said, *flags)


def _features(rows: Sequence[tuple[int, PrecomputedFeatures]]) -> Features:
    values = torch.from_numpy(np.stack([f.values for _, f in rows])).float()
    seconds = torch.from_numpy(np.stack([f.seconds for _, f in rows]))
    item = torch.tensor([i for i, _ in rows])
    return Features(values, torch.ones(values.shape[:3], dtype=torch.bool), seconds, item, torch.zeros_like(item))


def _prompts(model: VideoLanguageModel, rows: Sequence[tuple[Any, Any]]) -> PromptPlan:
    queries = [Query.about(Clip(video=clip["video"]), question.text) for clip, question in rows]
    groups = {(block, item, 0): 1 for item in range(len(rows)) for block in ("video", "fused")}
    tokenizer = model.processor.tokenizers["language"]
    return model.spec.layout.plan(queries, tokenizer, groups, [question.answer for _, question in rows])


VOCABULARY = (*a.SHAPES, *(v for values in a.VALUES.values() for v in values), "1", "2", "3", "4", "beeps")
LOUDNESS = 3.0  # of words in the fused tokens; video tokens are ten times as loud as words


@torch.no_grad()
def _words(model: VideoLanguageModel) -> Tensor:
    """(words, D) vectors of VOCABULARY in the language model."""
    tokenizer = model.processor.tokenizers["language"]
    ids = [tokenizer(f" {word}", add_special_tokens=False)["input_ids"][-1] for word in VOCABULARY]
    return LOUDNESS * model.language_model.embed(torch.tensor(ids)).clone()


def _said(scene: ToyScene) -> np.ndarray:
    """(senses, tokens, words) float32: a token per shape says the shape and, where there is such an object, what the sense
    tells of it; one more says what is heard."""
    said = np.zeros((len(SENSES), 16, len(VOCABULARY)), np.float32)
    for sense, name in a.SENSES.items():
        for slot, shape in enumerate(a.SHAPES):
            said[SENSES.index(sense), slot, VOCABULARY.index(shape)] = 1
        for obj in scene.objects:
            said[SENSES.index(sense), a.SHAPES.index(obj.shape), VOCABULARY.index(getattr(obj, name))] = 1
    if (beeper := scene.beeper) is not None:
        for word in ("beeps", beeper.pitch, str(len(beeper.beeps))):
            said[SENSES.index("audio"), len(a.SHAPES), VOCABULARY.index(word)] = 1
    return said


def _perfect(root: CremaRoot, batch: SenseBatch, whose: Tensor) -> Tensor:
    """(B, 1, tokens, D): the fused block of senses `whose` (B, senses) that say their words without a mistake."""
    words = (batch.said * whose[:, :, None, None]).sum(1)
    return functional.silu(words @ root.words)[:, None]


@dataclass(frozen=True)
class Words:
    """The language model answers from perfect words, and every port says its own."""

    def __call__(self, root: CremaRoot, batch: SenseBatch) -> dict[str, Tensor]:
        blocks, _ = root.model.connector(batch.features, batch.item, torch.zeros_like(batch.item))
        told = _perfect(root, batch, batch.has)
        error = (blocks["fused"].values - told).square().mean() / told.square().mean()
        heard = replace(blocks["fused"], values=_perfect(root, batch, batch.reads))
        answers = _loss(root, batch, {"video": blocks["video"], "fused": heard})
        return {"loss": answers + error, "answers": answers, "error": error}


@dataclass(frozen=True)
class Answers:
    """The answers to questions, from what the ports say; their words are kept in mind."""

    def __call__(self, root: CremaRoot, batch: SenseBatch) -> dict[str, Tensor]:
        blocks, _ = root.model.connector(batch.features, batch.item, torch.zeros_like(batch.item))
        told = _perfect(root, batch, batch.has)
        error = (blocks["fused"].values - told).square().mean() / told.square().mean()
        answers = _loss(root, batch, blocks)
        return {"loss": answers + 0.3 * error, "answers": answers, "error": error}


def _loss(root: CremaRoot, batch: SenseBatch, blocks: Mapping[str, Any]) -> Tensor:
    language_model = root.model.language_model
    return language_model.loss(splice(batch.prompts, blocks, language_model.embed, language_model.side))


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
