"""tiny-crema: seven more senses for tiny-base, each by an adapter port of its own into the frozen Q-Former.

    vidweave train tiny/crema --out runs/tiny-crema

The eye, the Q-Former and the senses' encoders (the recipe `tiny/senses`) stay frozen. A sense learns its port (input projection,
norm, query tokens, low-rank change of the Q-Former, output projection) and its matrix of the fusion, and no parameter belongs
to two of them. What a sense has to say is settled first: a vector for each fact (`Codes`), and the token of the video to which
the fusion adds it (`SENSE_SLOTS`). Stages:

`tell`: the language model learns to tell, object by object, what any set of senses says, from the video's tokens with their
facts added without a mistake; no sense has learnt anything yet. What it knew about clips it forgets meanwhile (it took longer
to keep it).
`ask`: it answers questions of all families. (Questions alone teach it two words a time: a lesson on two families took 200
steps, and every further pair as long; after 250 steps of telling, 100 of asking had five families of senses at 97% and more.)
`say`: the language model is frozen, and so are the codes. Each sense learns to say its facts, alone, from its own clips.
`answers`: the senses learn from the answers, any set of them together.

tiny-llama itself cannot be kept: it answers from fact sheets of other senses (0.8 to 0.9), but beside the tokens of a video it
reads nothing else, be it words or these tokens (at chance). The language model is therefore an asset of its own,
`tiny-crema-llama`: the paper's is large enough to be left alone.

Enough clips matter to the language model: after 1,000 steps on 1,500 clips its loss on questions was 0.012 there and 0.036 on new
ones, and which object is nearer was right in 92% on unseen scenes; 170 steps in which every clip was new brought 98%.

A port does not begin at random: it is the eye's, and its input projection is the linear map under which the sense's tokens
resemble what the eye sees at the same place, so that the frozen Q-Former finds its objects at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import vidweave
from vidweave.data.toyworld import ToyQuestions
from vidweave.evaluation.runner import right_by_family
from vidweave.language.splice import splice
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.bases import base_state
from vidweave.model.growth import parameters_of
from vidweave.systems.tiny.crema import SENSES, tiny_crema
from vidweave.tiny.asset_files import write_facts, write_language_model, write_weights
from vidweave.tiny.modalities import SENSE_SAYS, said_by_senses
from vidweave.tiny.scenes import ClipExample, ClipQuestions, train_scene
from vidweave.tiny.whitening import whitening
from vidweave.toyworld import attributes as a
from vidweave.toyworld.captions import description, fact_sheet
from vidweave.toyworld.questions import FAMILIES, ToyQuestion, families, question
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import ToyScene
from vidweave.training.schedule import Schedule
from vidweave.training.stages import AdamWSettings, Pass, Run, Stage
from vidweave.types import Blocks, Clip, Frames, PromptPlan, Query

__all__ = [
    "Answers",
    "Asked",
    "Clips",
    "Codes",
    "CremaBatch",
    "CremaRoot",
    "Reads",
    "Says",
    "Seen",
    "Settings",
    "accuracy",
    "beginning",
    "collate",
    "felt",
    "reading",
    "recipe",
    "seen",
]

LANGUAGE = "tiny-crema-llama"
BASES = {
    "encoders.rgb": "tiny-rgb",
    "encoders.pictures": "tiny-pictures",
    "encoders.sound": "tiny-sound",
    "encoders.points": "tiny-points",
    "connector.trunks.qformer": "tiny-base",
    "connector.ports.video": "tiny-base",
}
ASKED = "What is there?"  # whatever is asked, features are the same
HARD = ("nearer", "nearer", "left_right", "above_below", "change", "beeps", "consistency")  # asked more often
DESCRIBE, TELL = "Describe the clip.", "What is felt and heard?"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Sizes and lengths. The shipped model was made by these stages in several sittings (see its `asset.json`); the defaults
    are what they came to together."""

    seed: int = 0
    rank: int = 8
    clips: int = 5_000
    felt_clips: int = 1_200
    clips_per_step: int = 24
    questions_per_clip: int = 3
    told_per_step: int = 32
    tell_steps: int = 260
    ask_steps: int = 1_000
    say_steps: int = 600
    answers_steps: int = 100
    learning_rate: float = 2e-3
    evaluation_examples: int = 20


class Codes(nn.Module):
    """What each fact of `SENSE_SAYS` adds to a token before the gate: a vector for each, which learns ten times as fast as
    a weight of the language model, since it is ten times as large."""

    SCALE = 10.0

    def __init__(self, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(1.5 / self.SCALE * torch.randn(len(SENSE_SAYS), width))

    def forward(self, said: Tensor) -> Tensor:
        """Facts (..., tokens, facts) → (..., tokens, D)."""
        return said.to(self.vectors.dtype) @ (self.SCALE * self.vectors)


class CremaRoot(nn.Module):
    """The model; the codes, which it does not need afterwards; and the tokens (Q, D) of a grey video."""

    blank: Tensor

    def __init__(self, model: VideoLanguageModel) -> None:
        super().__init__()
        self.model = model
        self.codes = Codes(model.language_model.width)
        grey = Frames.from_array(np.full((16, 48, 48, 3), 127, np.uint8), fps=8)
        self.register_buffer("blank", torch.from_numpy(_tokens_of(model, Clip(video=grey))).float(), persistent=False)


def recipe(**overrides: Any) -> Run:
    """The run; `overrides` are fields of Settings."""
    s = Settings(**overrides)
    torch.manual_seed(s.seed)
    model = beginning(s)
    root = CremaRoot(model)
    looked, sensed = Clips(s.clips, seen), Clips(s.felt_clips, felt)
    own = tuple(f"model.{name}" for sense in SENSES for name in parameters_of(model, sense))
    everything = [*_of_senses(), *_general(), *HARD]
    common: dict[str, Any] = {"batch_size": s.clips_per_step, "collate": partial(collate, model, 3, 0.3)}
    common["schedule"] = Schedule("cosine", warmup_steps=20, min_lr_ratio=0.02)
    optimizer = partial(AdamWSettings, weight_decay=0.01, betas=(0.9, 0.98))
    reads: dict[str, Any] = {
        **common,
        "objective": Reads(),
        "passes": (Pass("language model", ("model.language_model.*", "codes.*")),),
        "optimizer": optimizer(lr=s.learning_rate),
        "evaluate": partial(reading, clips=3 * s.evaluation_examples),
        "evaluate_every": 150,
    }
    says: dict[str, Any] = {**common, "passes": (Pass("senses", own),)}
    stages = [
        Stage(
            name="tell",
            examples=partial(looked, _general(), 1),
            steps=s.tell_steps,
            share=2,
            **{
                **reads,
                "objective": Reads(("sheets",)),
                "collate": partial(collate, model, 1, 0.0),
                "batch_size": s.told_per_step,
                "schedule": Schedule("constant", warmup_steps=20),
            },
        ),
        Stage(
            name="ask", examples=partial(looked, everything, s.questions_per_clip), steps=s.ask_steps, share=2, **reads
        ),
        Stage(
            name="say",
            objective=Says(),
            examples=partial(sensed, everything, 1),
            steps=s.say_steps,
            optimizer=optimizer(lr=s.learning_rate),
            share=3,
            **says,
        ),
        Stage(
            name="answers",
            objective=Answers(),
            examples=partial(sensed, everything, s.questions_per_clip),
            steps=s.answers_steps,
            optimizer=optimizer(lr=0.3 * s.learning_rate),
            share=1,
            **says,
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
    return right_by_family(root.model, asked)


def _general() -> list[str]:
    return list(families(needs={"video"}, scope="short", encoder="general"))


def _of_senses() -> list[str]:
    """Families that take another sense than the eye."""
    return [name for name, family in FAMILIES.items() if family.scope == "short" and family.needs & set(SENSES)]


# -- where it begins ---------------------------------------------------------------------------------------------


def beginning(s: Settings, language: str = "tiny-llama") -> VideoLanguageModel:
    """Frozen bases, and ports that begin where the eye's is."""
    base = vidweave.load("tiny-base")
    config = tiny_crema(rank=s.rank)
    model = VideoLanguageModel(config)
    model.processor = base.processor.for_config(config)
    for root, asset in {**BASES, "language_model": language}.items():
        state = base_state(root, {"source": asset}, model, Path())
        model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=False)
    model.connector.fusion.bias.data.zero_()
    model.eval()
    names = ("video", *SENSES)
    clips = [_features(model, _clip(train_scene(i), names)) for i in range(48)]
    values = {name: torch.from_numpy(np.stack([clip[name] for clip in clips])).float() for name in names}
    ports: Any = model.connector.ports
    for sense in SENSES:
        _begin_port(ports["video"], ports[sense], values["video"], values[sense])
    return model


@torch.no_grad()
def _begin_port(eye: Any, port: Any, pictures: Tensor, values: Tensor) -> None:
    """From features (B, T, N, C) of the eye and of the sense: the eye's queries, norm and output; an input projection that makes of the sense's tokens the keys of the eye's
    tokens at the same places, as far as a linear map can. A sense without places begins with whitened tokens."""
    for name in ("query_tokens", "input_norm.weight", "input_norm.bias", "output_proj.weight", "output_proj.bias"):
        port.get_parameter(name).copy_(eye.get_parameter(name))
    step = pictures.shape[1] // values.shape[1]
    port.time_embedding[: values.shape[1]].copy_(eye.time_embedding[step - 1 : pictures.shape[1] : step])
    if port.name in ("touch", "audio"):
        weight, bias = whitening(values.flatten(0, 2))
        spread = nn.init.orthogonal_(torch.empty(len(port.input_proj.weight), len(weight)))
        weight, bias = spread @ weight, spread @ bias
    else:
        keys = eye.input_proj(pictures)
        keys = keys[:, step - 1 :: step] if values.shape[1] > 1 else keys.mean(1, keepdim=True)
        weight, bias = _linear_map(values.flatten(0, 2), keys.flatten(0, 2))
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


@dataclass(frozen=True)
class Seen:
    """What stands for a clip: its scene, tokens (Q, D) of its video, what its senses say (senses, Q, facts), and their
    features."""

    scene: ToyScene
    tokens: np.ndarray
    said: np.ndarray
    felt: dict[str, np.ndarray]


class Clips:
    """Questions of some families about clips, each of which is encoded once for all stages that ask about it."""

    def __init__(self, clips: int, look: Callable[[VideoLanguageModel, ToyScene], Seen]) -> None:
        self._clips, self._look = clips, look
        self._made: ClipQuestions | None = None

    def __call__(self, names: Sequence[str], per_clip: int, root: CremaRoot) -> ClipQuestions:
        if self._made is None:
            self._made = ClipQuestions(self._clips, names, partial(self._look, root.model), per_clip=per_clip)
        return self._made.asking(names, per_clip)


def seen(model: VideoLanguageModel, scene: ToyScene) -> Seen:
    """The video's tokens alone, and what senses would say."""
    tokens = _tokens_of(model, Clip(video=render(scene, "video")))
    said = said_by_senses(scene, len(tokens))
    return Seen(scene, tokens, np.stack([said[sense] for sense in SENSES]), {})


def felt(model: VideoLanguageModel, scene: ToyScene, *, senses: Sequence[str] = SENSES) -> Seen:
    """With the features of senses."""
    features = _features(model, _clip(scene, senses))
    return replace(seen(model, scene), felt=features)


def _clip(scene: ToyScene, names: Sequence[str]) -> Clip:
    sources: dict[str, Any] = {name: render(scene, name) for name in names}
    return Clip(**sources)


@torch.no_grad()
def _features(model: VideoLanguageModel, clip: Clip) -> dict[str, np.ndarray]:
    """Stream → features (T, N, C) of a clip in half precision, through the model's own processor."""
    streams = model.processor(Query.about(clip, ASKED)).streams
    return {name: model.encode_stream(name, stream).values[0].half().numpy() for name, stream in streams.items()}


@torch.no_grad()
def _tokens_of(model: VideoLanguageModel, clip: Clip) -> np.ndarray:
    """(Q, D) tokens of a clip that is only seen, in half precision."""
    pictures = torch.from_numpy(_features(model, clip)["video"])[None].float()
    return _say(model, "video", pictures)[0].half().numpy()


def _say(model: VideoLanguageModel, stream: str, values: Tensor) -> Tensor:
    """What the port of `stream` makes of features (B, T, N, C): tokens (B, Q, D) before the fusion."""
    connector: Any = model.connector
    port, rows = connector.ports[stream], len(values)
    keys = port.keys(
        values, torch.ones(values.shape[:3], dtype=torch.bool), torch.zeros(rows, dtype=torch.long), values.dtype
    )
    adapter = torch.full((rows,), list(connector.ports).index(stream))
    hidden, _ = connector.trunks[port.trunk](port.queries(rows), keys.flatten(1, 2), None, adapter=adapter)
    return port.project(hidden)


@dataclass(frozen=True)
class Asked:
    """Prompts with their answers about clips of a batch."""

    clip_of: Tensor  # (R,) which clip each is about
    has: Tensor  # (R, senses) bool: the senses that its clip has
    blank: Tensor  # (R,) bool: nothing is to be seen
    prompts: PromptPlan

    def to(self, device: Any) -> Asked:
        return Asked(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


@dataclass(frozen=True)
class CremaBatch:
    """Clips, questions about them, and all that is told of some."""

    tokens: Tensor  # (B, Q, D) of the videos
    said: Tensor  # (B, senses, Q, facts) bool
    felt: dict[str, Tensor]  # sense → features (B, T, N, C)
    questions: Asked
    sheets: Asked

    def to(self, device: Any) -> CremaBatch:
        felt = {name: values.to(device) for name, values in self.felt.items()}
        rest = {name: getattr(self, name).to(device) for name in ("tokens", "said", "questions", "sheets")}
        return CremaBatch(felt=felt, **rest)


def collate(
    model: VideoLanguageModel, told_every: int, described: float, examples: Sequence[ClipExample]
) -> CremaBatch:
    """Of every `told_every`th clip all is told that senses say, or (a share `described`) all that is seen."""
    clips = [example.clip for example in examples]
    asked = [(clip, q) for clip, example in enumerate(examples) for q in example.questions]
    rng = np.random.default_rng([len(asked), *(ord(c) for _, q in asked for c in q.text[-12:])])
    return CremaBatch(
        tokens=torch.from_numpy(np.stack([clip.tokens for clip in clips])).float(),
        said=torch.from_numpy(np.stack([clip.said for clip in clips])),
        felt={m: torch.from_numpy(np.stack([c.felt[m] for c in clips])).float() for m in clips[0].felt},
        questions=_questions(model, asked, rng),
        sheets=_sheets(model, list(enumerate(clips))[::told_every], described, rng),
    )


def _questions(model: VideoLanguageModel, asked: Sequence[tuple[int, ToyQuestion]], rng: np.random.Generator) -> Asked:
    """Each with the senses that it needs, and others. Beside what is only heard, a quarter of the videos are blank."""
    needs = torch.tensor([[sense in q.needs for sense in SENSES] for _, q in asked])
    heard = torch.tensor([q.needs == {"audio"} for _, q in asked])
    return Asked(
        clip_of=torch.tensor([clip for clip, _ in asked]),
        has=needs | _some(len(asked), rng),
        blank=heard & torch.from_numpy(rng.random(len(asked)) < 0.25),
        prompts=_prompts(model, [q.text for _, q in asked], [q.answer for _, q in asked]),
    )


def _sheets(
    model: VideoLanguageModel, clips: Sequence[tuple[int, Seen]], described: float, rng: np.random.Generator
) -> Asked:
    """What at least one sense tells, object by object; or (a share `described`) what is to be seen."""
    has = _some(len(clips), rng)
    has[torch.arange(len(clips)), torch.from_numpy(rng.integers(len(SENSES), size=len(clips)))] = True
    words = []
    for (_, clip), there in zip(clips, has.tolist(), strict=True):
        senses = [sense for sense, is_there in zip(SENSES, there, strict=True) if is_there]
        is_described = rng.random() < described
        words.append((DESCRIBE, description(clip.scene)) if is_described else (TELL, _sheet(clip.scene, senses)))
    prompts = _prompts(model, [text for text, _ in words], [answer for _, answer in words])
    return Asked(torch.tensor([i for i, _ in clips]), has, torch.zeros(len(clips), dtype=torch.bool), prompts)


def _sheet(scene: ToyScene, senses: Sequence[str]) -> str:
    """Objects in the order of `SHAPES`, so that every word can be known."""
    objects = sorted(scene.objects, key=lambda obj: a.SHAPES.index(obj.shape))
    return fact_sheet(replace(scene, objects=tuple(objects)), modalities=senses)


def _some(rows: int, rng: np.random.Generator) -> Tensor:
    """(rows, senses) bool: each sense with a probability that is drawn for the row."""
    return torch.from_numpy(rng.random((rows, len(SENSES))) < rng.random((rows, 1)))


def _prompts(model: VideoLanguageModel, texts: Sequence[str], answers: Sequence[str] | None = None) -> PromptPlan:
    queries = [Query.about(Clip("clip"), text) for text in texts]
    groups = {("video", item, 0): 1 for item in range(len(texts))}
    return model.spec.layout.plan(queries, model.processor.tokenizers["language"], groups, answers)


# -- what is learnt ----------------------------------------------------------------------------------------------


NOISE = 0.45  # of what is added in lessons, per direction, where a code has 1.5: senses will not speak as clearly


@dataclass(frozen=True)
class Reads:
    """The language model learns `parts` of a batch, `questions` or `sheets`, from what senses say without a mistake, but
    not quite clearly."""

    parts: tuple[str, ...] = ("questions", "sheets")

    def __call__(self, root: CremaRoot, batch: CremaBatch) -> dict[str, Tensor]:
        said = dict(zip(SENSES, root.codes(batch.said).unbind(1), strict=True))
        losses = {name: _answer_loss(root, batch, getattr(batch, name), said, noise=NOISE) for name in self.parts}
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}


@dataclass(frozen=True)
class Says:
    """Each sense says its facts, alone. Parts are its squared error over the square of what it should say."""

    def __call__(self, root: CremaRoot, batch: CremaBatch) -> dict[str, Tensor]:
        errors = _errors(root, batch, _all_say(root, batch))
        return {"loss": torch.stack(list(errors.values())).mean(), **errors}


@dataclass(frozen=True)
class Answers:
    """Answers from what any set of senses says; each of them keeps to its facts."""

    def __call__(self, root: CremaRoot, batch: CremaBatch) -> dict[str, Tensor]:
        parts = _all_say(root, batch)
        error = torch.stack(list(_errors(root, batch, parts).values())).mean()
        answers = _answer_loss(root, batch, batch.questions, parts)
        return {"loss": answers + 0.5 * error, "answers": answers, "error": error}


def _all_say(root: CremaRoot, batch: CremaBatch) -> dict[str, Tensor]:
    """Sense → what it adds to f of the fusion, (B, Q, D)."""
    weights: Any = root.model.connector.fusion.weights
    return {m: functional.linear(_say(root.model, m, values), weights[m]) for m, values in batch.felt.items()}


def _errors(root: CremaRoot, batch: CremaBatch, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    wanted = {sense: root.codes(batch.said[:, SENSES.index(sense)]) for sense in parts}
    return {m: (part - wanted[m]).square().mean() / wanted[m].square().mean() for m, part in parts.items()}


def _answer_loss(
    root: CremaRoot, batch: CremaBatch, asked: Asked, parts: Mapping[str, Tensor], noise: float = 0.0
) -> Tensor:
    """Of answers, where each sense adds (B, Q, D) before the gate."""
    has = asked.has[:, [SENSES.index(sense) for sense in parts]]
    added = (torch.stack(list(parts.values()), 1)[asked.clip_of] * has[:, :, None, None]).sum(1)
    added = added + noise * torch.randn_like(added) * has.any(1)[:, None, None]
    tokens = torch.where(asked.blank[:, None, None], root.blank, batch.tokens[asked.clip_of])
    return root.model.language_model.loss(_spliced(root.model, asked.prompts, tokens + functional.silu(added)))


def _spliced(model: VideoLanguageModel, prompts: PromptPlan, tokens: Tensor) -> Any:
    item = torch.arange(len(tokens))
    mask = torch.ones(len(tokens), 1, tokens.shape[1], dtype=torch.bool)
    block = Blocks(tokens[:, None], mask, tokens.new_zeros(len(tokens), 1, 2), item, torch.zeros_like(item))
    language_model = model.language_model
    return splice(prompts, {"video": block}, language_model.embed, language_model.side)


@torch.no_grad()
def reading(root: CremaRoot, step: int, *, clips: int) -> dict[str, float]:
    """Share of right answers per family where senses say all they know without a mistake, on scenes not trained on."""
    model, rng = root.model, np.random.default_rng(1)
    scenes = [train_scene(1_000_000 + i) for i in range(clips)]
    looked = [seen(model, scene) for scene in scenes]
    names = [*_of_senses(), *_general()]
    asked = [(i, q) for i, scene in enumerate(scenes) for n in names if (q := question(scene, n, rng)) is not None]
    right: dict[str, list[bool]] = {name: [] for name in names}
    for start in range(0, len(asked), 128):
        rows = asked[start : start + 128]
        said = torch.from_numpy(np.stack([looked[i].said for i, _ in rows]))
        tokens = torch.from_numpy(np.stack([looked[i].tokens for i, _ in rows])).float()
        tokens = tokens + functional.silu(root.codes(said).sum(1))
        queries = [Query.about(Clip("clip"), q.text, q.options) for _, q in rows]
        embeds = _spliced(model, _prompts(model, [q.text for _, q in rows]), tokens)
        scores = model.language_model.score(model.language_model.prefill(embeds), model.processor.option_ids(queries))
        for (_, q), row in zip(rows, scores, strict=True):
            right[q.family].append(q.options[int(np.argmax(row))] == q.answer)
    return {name: sum(found) / len(found) for name, found in right.items() if found}


# -- results -----------------------------------------------------------------------------------------------------


def _finish(root: CremaRoot, out: Path, *, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Write the assets: the language model, and ports and fusion beside the names of their bases."""
    assets = out / "assets"
    model = root.model.half().float().eval()  # as it will be read back
    figures = accuracy(root, examples=settings["evaluation_examples"], seed=1)
    write_language_model(assets / LANGUAGE, model.language_model, model.processor.tokenizers["language"])
    codes = {"vectors": root.codes.SCALE * root.codes.vectors}  # for whoever teaches another model to speak
    write_weights(assets / LANGUAGE / "codes.safetensors", codes)
    model.half().save_pretrained(assets / "tiny-crema", bases={**BASES, "language_model": LANGUAGE})
    model.float()
    for name, more in {LANGUAGE: {}, "tiny-crema": {"figures": figures}}.items():
        write_facts(assets / name / "asset.json", __file__, out, {**settings, **more})
    return figures
