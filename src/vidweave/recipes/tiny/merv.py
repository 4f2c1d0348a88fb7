"""tiny-merv: three eyes that see different things behind one language model, and the rows that it is compared with.

    vidweave train tiny/merv part=eye-detail eye_steps=600 eye_batch=24 --out runs/merv/eye-detail
    vidweave train tiny/merv part=eye-tempo --out runs/merv/eye-tempo      (also eye-generalist, language)
    vidweave train tiny/merv part=attention parts=runs/merv --out runs/merv/attention     (and the other rows)

Parts that are made once and frozen: the eyes, on dense labels of what each patch shows; and a language model, tiny-llama
taught to read texture and speed. It is taught on the tokens of tiny-base, of which the first four tell one quarter of the
picture each, with one learned vector per texture and speed added: what a perfect mixture of eyes could say. Those vectors
stand beside it, and say to the connectors what to aim at.

A row is a connector of its own, trained as every other: the general eye's Q-Former is that of tiny-base and stays as it is,
its port and all of the other eyes learn, first to say what the language model was taught on, then to answer through it.

The shipped parts: eye-detail as above, eye-tempo with the defaults, eye-generalist with eye_steps=500 eye_batch=24
eye_learning_rate=2e-3, language in two runs (the second with start=, reading_steps=300), rows with aim_steps=300
question_steps=150 questions_per_clip=2. Each took 4 to 8 minutes of a shared core.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

import vidweave
from vidweave.data.toyworld import ToyQuestions
from vidweave.encoders.tiny import PIXELS
from vidweave.evaluation.runner import right_by_family
from vidweave.language.splice import splice
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.assets import asset_folder
from vidweave.model.cache import module_fingerprint
from vidweave.model.processor import Processor
from vidweave.systems.merv.rows import MODEL, own_weights
from vidweave.systems.merv.tiny import (
    TUBE,
    detail_config,
    generalist_config,
    tempo_config,
    tiny_merv,
)
from vidweave.tiny.asset_files import write_facts, write_language_model, write_weights
from vidweave.tiny.patch_labels import DenseLabels, collate_pictures, dense_heads
from vidweave.tiny.scenes import NOTHING, ClipExample, ClipQuestions, LabelledPictures, train_scene
from vidweave.tiny.token_classes import SPEEDS, LabelledTokens
from vidweave.tiny.token_labels import TokenLabels, collate_tokens, right_labels, token_heads
from vidweave.tiny.whitening import whitening
from vidweave.toyworld import attributes as a
from vidweave.toyworld.questions import families, question
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import ToyObject, ToyScene
from vidweave.training.schedule import Schedule
from vidweave.training.stages import AdamWSettings, Examples, Pass, Run, Stage
from vidweave.types import Blocks, Clip, Features, PrecomputedFeatures, PromptPlan, Query

__all__ = [
    "Batch",
    "Codebook",
    "EyeRoot",
    "LanguageRoot",
    "Looks",
    "Retold",
    "RowRoot",
    "Seen",
    "Settings",
    "accuracy",
    "asked_families",
    "recipe",
    "special_labels",
]

DESCRIBE = "Describe the clip."
_EYES = {"detail": detail_config, "tempo": tempo_config, "generalist": generalist_config}
# What a language model does not learn among all families at once, it learns alone.
LESSON = ("texture", "speed", "colour", "shape")
UNSEEN = 1_000_000  # training scenes from here on are kept for figures
GENERAL = ("shape", "colour", "size")
# Eye → what its tokens are to tell, and how much each counts.
TOLD = {
    "detail": {"texture": 2.0, "colour": 1.0, "shape": 0.5, "quarter": 1.0},
    "tempo": {"speed": 2.0, "motion": 1.0, "colour": 0.5, "shape": 0.5, "quarter": 1.0},
}
SEEN = {
    "detail": LabelledTokens(tuple(TOLD["detail"]), patch=4, tube=1, frames=2),
    "tempo": LabelledTokens(tuple(TOLD["tempo"]), patch=8, tube=TUBE, frames=8),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`part` is `eye-` and the name of an eye, `language`, or a row of `vidweave.systems.merv.tiny.ROWS`; `parts` is where the
    parts are; `start` is a folder of the part `language` to go on from, without the lesson."""

    part: str = "attention"
    start: str = ""
    parts: str = "runs/merv"
    seed: int = 0
    eye_steps: int = 800
    eye_batch: int = 64
    eye_learning_rate: float = 3e-3
    lesson_steps: int = 400
    reading_steps: int = 300
    aim_steps: int = 300
    question_steps: int = 250
    clips: int = 2_500
    eye_scenes: int = 6_000
    clips_per_step: int = 24
    questions_per_clip: int = 3
    evaluation_examples: int = 60
    figure_scenes: int = 256


def recipe(**overrides: Any) -> Run:
    """The run of a part or row; `overrides` are fields of Settings."""
    s = Settings(**overrides)
    makers = {**{f"eye-{eye}": _eye for eye in _EYES}, "language": _language}
    return makers[s.part](s) if s.part in makers else _row(s)


def asked_families() -> list[str]:
    """Everything that video alone answers in short clips: any eye, or one of the special ones."""
    return [*families(needs={"video"}, scope="short")]


_SETTINGS = partial(AdamWSettings, weight_decay=0.01, betas=(0.9, 0.98))
_COSINE = Schedule("cosine", warmup_steps=40, min_lr_ratio=0.02)


# -- eyes --------------------------------------------------------------------------------------------------------


class EyeRoot(nn.Module):
    """An encoder, and heads that are thrown away."""

    def __init__(self, name: str, encoder: nn.Module, heads: nn.ModuleDict) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.encoders = nn.ModuleDict({name: encoder})
        self.heads = heads


def _eye(s: Settings) -> Run:
    eye = s.part.removeprefix("eye-")
    encoder = _EYES[eye]().build()
    _wide_awake(encoder)
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
        examples=_Pool(source, s.eye_scenes),
        collate=collate,
        steps=s.eye_steps,
        batch_size=s.eye_batch,
        optimizer=_SETTINGS(lr=s.eye_learning_rate, clip_norm=5.0),
        schedule=_COSINE,
        evaluate=partial(right, scenes=min(64, s.figure_scenes)),
        evaluate_every=50,
    )
    root = EyeRoot(eye, encoder, heads)
    finish = partial(_write_eye, eye=eye, settings=asdict(s), evaluate=partial(right, scenes=s.figure_scenes))
    return Run(name=f"tiny-{eye}", model=root, stages=[stage], seed=s.seed, finish=finish, config=asdict(s))


def _wide_awake(encoder: nn.Module) -> None:
    """Weights of 0.02 are made for a width of 768; at 64 a layer's products with them are so small that nothing but sums
    of pixels is seen for hundreds of steps, and a pattern is no sum."""
    for layer in encoder.modules():
        if isinstance(layer, (nn.Linear, nn.Conv3d)):
            nn.init.xavier_uniform_(layer.weight.flatten(1))


def _right(
    root: EyeRoot,
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


class _Pool:
    """The first `size` examples of a source, each made once."""

    def __init__(self, source: Examples, size: int) -> None:
        self._source, self._size = source, size
        self._known: dict[int, Any] = {}

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Any:
        if index not in self._known:
            self._known[index] = self._source[index]
        return self._known[index]


def _write_eye(
    root: EyeRoot, out: Path, *, eye: str, settings: Mapping[str, Any], evaluate: Callable[..., Mapping[str, float]]
) -> Mapping[str, float]:
    figures = evaluate(root.half().float().eval(), -1)  # as it will be read back
    folder = out / f"tiny-{eye}"
    write_weights(folder / "model.safetensors", root.get_submodule(f"model.encoders.{eye}").state_dict())
    _write_facts(folder / "asset.json", out, settings, figures=figures)
    return figures


def _facts_of(parts: Path) -> dict[str, Any]:
    """What the frozen parts say of themselves."""
    files = {eye: parts / f"eye-{eye}" / f"tiny-{eye}" for eye in ("detail", "tempo")}
    files["language_model"] = parts / "language" / "tiny-merv-llama"
    return {name: json.loads((folder / "asset.json").read_text()) for name, folder in files.items()}


def _write_facts(file: Path, out: Path, settings: Mapping[str, Any], **more: Any) -> None:
    kept = {key: value for key, value in settings.items() if key != "parts"}
    write_facts(file, __file__, out, {**kept, **more})


# -- clips and questions -----------------------------------------------------------------------------------------


def special_labels(scene: ToyScene) -> Tensor:
    """(4, 2) texture and speed of the object in each quarter, NOTHING where there is none, or where it stands still."""
    labels = torch.full((4, 2), NOTHING)
    for obj in scene.objects:
        speed = NOTHING if obj.motion == "still" else SPEEDS.index(obj.speed)
        labels[obj.quarter] = torch.tensor([a.TEXTURES.index(obj.texture), speed])
    return labels


class Codebook(nn.Module):
    """One vector per texture and speed, added to the token of the quarter where it is seen."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.texture = nn.Parameter(torch.randn(len(a.TEXTURES), width))
        self.speed = nn.Parameter(torch.randn(len(SPEEDS), width))

    def forward(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Tokens (B, Q, D) whose first four are quarters, labels (B, 4, 2) → tokens that also tell these."""
        there = (labels >= 0).to(tokens.dtype)[..., None]
        known = labels.clamp(min=0)
        added = self.texture[known[..., 0]] * there[:, :, 0] + self.speed[known[..., 1]] * there[:, :, 1]
        return torch.cat([tokens[:, :4] + added, tokens[:, 4:]], 1)


@dataclass(frozen=True)
class Seen:
    """What stands for a clip: features per stream, the tokens of tiny-base, what the special eyes should see, and the
    features that tiny-base made its tokens of where no stream has them."""

    features: dict[str, PrecomputedFeatures]
    tokens: Tensor
    labels: Tensor
    known: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """Clips of several streams, tokens of tiny-base, labels, and questions about them."""

    features: dict[str, Features]
    tokens: Tensor
    labels: Tensor
    clip_of: Tensor
    questions: PromptPlan

    def to(self, device: Any) -> Batch:
        features = {name: value.to(device) for name, value in self.features.items()}
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "features"}
        return Batch(features=features, **moved)


def _collate(model: VideoLanguageModel, examples: Sequence[ClipExample]) -> Batch:
    asked = [(clip, question) for clip, example in enumerate(examples) for question in example.questions]
    streams = examples[0].clip.features
    queries = [Query.about(Clip("clip"), question.text) for _, question in asked]
    groups = {("video", item, 0): 1 for item in range(len(asked))}
    if model.spec.connector.fusion.kind == "concat":
        groups = dict.fromkeys(groups, len(streams))
    plan = model.spec.layout.plan(queries, model.processor.tokenizers["language"], groups, [q.answer for _, q in asked])
    return Batch(
        features={name: _stack([example.clip.features[name] for example in examples]) for name in streams},
        tokens=torch.stack([example.clip.tokens for example in examples]).float(),
        labels=torch.stack([example.clip.labels for example in examples]),
        clip_of=torch.tensor([clip for clip, _ in asked]),
        questions=plan,
    )


def _stack(rows: Sequence[PrecomputedFeatures]) -> Features:
    values = torch.from_numpy(np.stack([row.values for row in rows])).float()
    seconds = torch.from_numpy(np.stack([row.seconds for row in rows]))
    item = torch.arange(len(rows))
    return Features(values, torch.ones(values.shape[:3], dtype=torch.bool), seconds, item, torch.zeros_like(item))


def _answer_loss(model: VideoLanguageModel, batch: Batch, clips: Blocks) -> Tensor:
    index = torch.arange(len(batch.clip_of))
    rows = batch.clip_of
    video = Blocks(clips.values[rows], clips.mask[rows], clips.seconds[rows], index, torch.zeros_like(index))
    language = model.language_model
    return language.loss(splice(batch.questions, {"video": video}, language.embed, language.side))


class Looks:
    """What some eyes see of the first training scenes, and the tokens of tiny-base; made once for all rows, on disk."""

    def __init__(self, eyes: Mapping[str, nn.Module], base: VideoLanguageModel, folder: Path, clips: int) -> None:
        self._seen = {eye: _features(eye, encoder, folder, clips) for eye, encoder in eyes.items()}
        self._known = self._seen.get("general") or _features("general", base.encoders["rgb"], folder, clips)
        self._base = base
        self.has_known = "general" not in self._seen

    @torch.no_grad()
    def __call__(self, scene: ToyScene) -> Seen:
        """Of training scene number `scene.seed`."""
        row = scene.seed
        seen = {
            eye: PrecomputedFeatures(f["values"][row].numpy(), f["seconds"][row].numpy())
            for eye, f in self._seen.items()
        }
        known = self._known["values"][row]
        general = _stack([PrecomputedFeatures(known.numpy(), self._known["seconds"][row].numpy())])
        blocks, _ = self._base.connector({"video": general}, general.item, general.scene)
        return Seen(seen, blocks["video"].values[0, 0], special_labels(scene), known if self.has_known else None)


@torch.no_grad()
def _features(eye: str, encoder: nn.Module, folder: Path, clips: int) -> dict[str, Tensor]:
    """Features (clips, T, N, C) in half precision and their seconds, through the processor of a model with this eye alone."""
    file = folder / f"{eye}-{module_fingerprint(encoder)[:12]}-{clips}.safetensors"
    if file.is_file():
        return load_file(file)
    config = tiny_merv(eye)
    processor = Processor(config, vidweave.load("tiny-base").processor.tokenizers)
    values, seconds = [], []
    for index in range(clips):
        clip = Clip(video=render(train_scene(index), "video"))
        stream = processor(Query.about(clip, DESCRIBE)).streams[eye]
        values.append(encoder.encode(stream.values, "video")[0].half())  # type: ignore[operator]
        seconds.append(stream.seconds[0])
    made = {"values": torch.stack(values), "seconds": torch.stack(seconds)}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(made, file)
    return made


# -- the language model ------------------------------------------------------------------------------------------


class LanguageRoot(nn.Module):
    """tiny-base, whose language model learns, and the codebook."""

    def __init__(self, model: VideoLanguageModel) -> None:
        super().__init__()
        self.model = model
        self.codebook = Codebook(model.language_model.width)


def _language(s: Settings) -> Run:
    root = LanguageRoot(vidweave.load("tiny-base").float())
    if s.start:
        _read_language(Path(s.start), root.model.language_model, root.codebook)
    lessons = Retold(root.model, s.clips, LESSON, s.questions_per_clip)
    common = {
        "objective": _ReadTokens(),
        "collate": partial(_collate, root.model),
        "batch_size": s.clips_per_step,
        "passes": (Pass("language model", ("model.language_model.*", "codebook.*")),),
        "schedule": _COSINE,
    }
    lesson = Stage(
        name="lesson",
        examples=lessons,
        steps=s.lesson_steps,
        optimizer=_SETTINGS(lr=2e-3),
        **common,
    )
    stages = [
        *([] if s.start else [lesson]),
        Stage(
            name="all",
            examples=lessons.asking([*asked_families(), *("texture", "speed") * 2]),
            steps=s.reading_steps,
            optimizer=_SETTINGS(lr=1e-3),
            evaluate=partial(_right_from_codebook, clips=s.evaluation_examples),
            **common,
        ),
    ]
    return Run(
        name="tiny-merv-llama",
        model=root,
        stages=stages,
        seed=s.seed,
        finish=partial(_write_language, settings=asdict(s)),
        config=asdict(s),
    )


def _read_language(folder: Path, model: nn.Module, codebook: Codebook) -> None:
    """What the part `language` has written to `folder`."""
    model.load_state_dict({**model.state_dict(), **_state(folder / "tiny-merv-llama")})
    codebook.load_state_dict(load_file(folder / "codebook.safetensors"))


class Retold:
    """Questions about clips as tiny-base saw them, told each time with other textures and speeds, of which it saw nothing.

    Told as they were, in the first 700 steps, 88% of textures on other clips were right; with others each time and noise on
    the tokens, 300 steps later, 98.7%.
    """

    def __init__(self, base: VideoLanguageModel, clips: int, families: Sequence[str], per_clip: int) -> None:
        self._base, self._clips, self._per_clip = base, clips, per_clip
        self._families = list(families)
        self._known: dict[int, Tensor] = {}

    def asking(self, families: Sequence[str]) -> Retold:
        """Other questions about the same clips."""
        other = Retold(self._base, self._clips, families, self._per_clip)
        other._known = self._known
        return other

    def __len__(self) -> int:
        return 2**31

    def __getitem__(self, index: int) -> ClipExample:
        rng = np.random.default_rng([index, 17])
        while True:  # a scene of one object has little to ask for: take another one then
            number = int(rng.integers(self._clips))
            scene = _retold(train_scene(number), rng)
            order = [self._families[i] for i in rng.permutation(len(self._families))]
            asked = [found for family in order if (found := question(scene, family, rng)) is not None]
            if len(asked) >= self._per_clip:
                seen = Seen({}, self._tokens(number), special_labels(scene))
                return ClipExample(seen, "", {}, asked[: self._per_clip])

    def _tokens(self, number: int) -> Tensor:
        if number not in self._known:
            self._known[number] = _base_look(self._base, train_scene(number)).tokens
        return self._known[number]


def _retold(scene: ToyScene, rng: np.random.Generator) -> ToyScene:
    def told(obj: ToyObject) -> ToyObject:
        texture = a.TEXTURES[rng.integers(len(a.TEXTURES))]
        return replace(obj, texture=texture, speed=SPEEDS[rng.integers(len(SPEEDS))])

    return replace(scene, objects=tuple(told(obj) for obj in scene.objects))


@torch.no_grad()
def _base_look(base: VideoLanguageModel, scene: ToyScene) -> Seen:
    inputs = base.processor(Query.about(Clip(video=render(scene, "video")), DESCRIBE), cache=base.cache)
    features = base.encode_stream("video", inputs.streams["video"])
    tokens = base.connector({"video": features}, features.item, features.scene)[0]["video"].values[0, 0]
    return Seen({}, tokens, special_labels(scene))


class _ReadTokens:
    """Answer from the tokens of tiny-base with the codebook's vectors added, and with noise, as a mixture will have."""

    noise = 0.2  # of the tokens' own deviation

    def __call__(self, root: LanguageRoot, batch: Batch) -> dict[str, Tensor]:
        tokens = root.codebook(batch.tokens, batch.labels)
        tokens = tokens + self.noise * batch.tokens.std() * torch.randn_like(tokens)
        return {"loss": _answer_loss(root.model, batch, _as_blocks(tokens))}


def _as_blocks(tokens: Tensor) -> Blocks:
    """Tokens (B, Q, D) of one group."""
    item = torch.arange(len(tokens))
    mask = torch.ones(len(tokens), 1, tokens.shape[1], dtype=torch.bool)
    return Blocks(tokens[:, None], mask, tokens.new_zeros(len(tokens), 1, 2), item, torch.zeros_like(item))


@torch.no_grad()
def _right_from_codebook(root: LanguageRoot, step: int, *, clips: int) -> dict[str, float]:
    """Share of right answers per family, from perfect tokens of scenes that were not trained on."""
    rng, right = np.random.default_rng(step), {}
    tokenizer, language = root.model.processor.tokenizers["language"], root.model.language_model
    for scene in (train_scene(UNSEEN + index) for index in range(clips)):
        seen = _base_look(root.model, scene)
        asked = [found for family in asked_families() if (found := question(scene, family, rng)) is not None]
        queries = [Query.about(Clip("clip"), q.text, q.options) for q in asked]
        tokens = root.codebook(seen.tokens[None].float(), seen.labels[None]).expand(len(asked), -1, -1)
        plan = root.model.spec.layout.plan(queries, tokenizer, {("video", i, 0): 1 for i in range(len(asked))})
        embeds = splice(plan, {"video": _as_blocks(tokens)}, language.embed, language.side)
        scores = language.score(language.prefill(embeds), root.model.processor.option_ids(queries))
        for q, row in zip(asked, scores, strict=True):
            right.setdefault(q.family, []).append(q.options[int(np.argmax(row))] == q.answer)
    return {family: sum(found) / len(found) for family, found in right.items()}


def _write_language(root: LanguageRoot, out: Path, *, settings: Mapping[str, Any]) -> dict[str, float]:
    folder = out / "tiny-merv-llama"
    write_language_model(folder, root.model.language_model, root.model.processor.tokenizers["language"])
    save_file({name: t.contiguous() for name, t in root.codebook.state_dict().items()}, out / "codebook.safetensors")
    figures = _right_from_codebook(root, 0, clips=5 * settings["evaluation_examples"])
    _write_facts(folder / "asset.json", out, settings, figures=figures)
    return figures


# -- rows --------------------------------------------------------------------------------------------------------


class RowRoot(nn.Module):
    """The row's model, and what its tokens should be."""

    def __init__(self, model: VideoLanguageModel, codebook: Codebook) -> None:
        super().__init__()
        self.model = model
        self.codebook = codebook


def _row(s: Settings) -> Run:
    parts, base = Path(s.parts), vidweave.load("tiny-base").float()
    config = tiny_merv(s.part)
    model = VideoLanguageModel(config)
    for eye, encoder in model.encoders.items():
        encoder.load_state_dict(_state(_eye_folder(parts, eye)))
    model.processor = Processor(config, base.processor.tokenizers)
    codebook = Codebook(model.language_model.width)
    _read_language(parts / "language", model.language_model, codebook)
    model.eval().requires_grad_(False)
    looks = Looks(dict(model.encoders.items()), base.eval(), parts / "features", s.clips)
    source = ClipQuestions(s.clips, asked_families(), looks, per_clip=s.questions_per_clip)
    sample = [looks(train_scene(index)) for index in range(min(40, s.clips))]
    model.use_cache_folder(parts / "cache")  # for the clips that rows are held against
    for eye in model.encoders:
        _start_from_base(model, base, eye, sample)
    _start_fusion(model.connector.fusion, len(model.encoders))
    common = {
        "examples": source,
        "collate": partial(_collate, model),
        "batch_size": s.clips_per_step,
        "passes": (Pass("connector", _learning(model)),),
        "schedule": _COSINE,
    }
    aim = Stage(name="aim", objective=_Aim(), steps=s.aim_steps, optimizer=_SETTINGS(lr=2e-3), **common)
    ask = Stage(
        name="answers",
        objective=_Answers(),
        steps=s.question_steps,
        optimizer=_SETTINGS(lr=1e-3),
        **common,
    )
    return Run(
        name=config.name,
        model=RowRoot(model, codebook),
        stages=[aim, ask],
        seed=s.seed,
        finish=partial(_write_row, settings=asdict(s)),
        config={key: value for key, value in asdict(s).items() if key != "parts"},
    )


def _eye_folder(parts: Path, eye: str) -> Path:
    return asset_folder("tiny-rgb") if eye == "general" else parts / f"eye-{eye}" / f"tiny-{eye}"  # type: ignore[return-value]


def _state(folder: Path) -> dict[str, Tensor]:
    return {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}


def _learning(model: VideoLanguageModel) -> tuple[str, ...]:
    """Ports, fusion and the trunks that see specialities; the Q-Former of tiny-base stays as it is."""
    trunks = [f"model.connector.trunks.{eye}.*" for eye in model.encoders if eye in ("detail", "tempo")]
    fusion = ["model.connector.fusion.*"] if any(True for _ in model.connector.fusion.parameters()) else []
    return ("model.connector.ports.*", *trunks, *fusion)


@torch.no_grad()
def _start_from_base(model: VideoLanguageModel, base: VideoLanguageModel, eye: str, sample: Sequence[Seen]) -> None:
    """General eyes start from tiny-base, the others from white features.

    An eye that tiny-base does not know is led to it by the linear map under which its features look most like those of
    the eye that it knows.
    """
    port: Any = model.connector.ports[eye]
    values = torch.from_numpy(np.concatenate([seen.features[eye].values for seen in sample])).float().flatten(0, 1)
    if eye in ("detail", "tempo"):
        weight, bias = whitening(values)
        spread = torch.randn(len(port.input_proj.weight), len(weight)) / len(weight) ** 0.5
        port.input_proj.weight.copy_(spread @ weight)
        port.input_proj.bias.copy_(spread @ bias)
        nn.init.normal_(port.time_embedding, std=0.5)
        nn.init.normal_(port.query_tokens, std=0.5)
        _wide_awake(model.connector.trunks[eye])
        return
    model.connector.trunks[eye].load_state_dict(base.connector.trunks["qformer"].state_dict())
    known = base.connector.ports["video"].state_dict()
    if eye != "general":
        theirs = torch.cat([seen.known for seen in sample if seen.known is not None]).float().flatten(0, 1)
        ones = torch.ones(len(values), 1)
        found = torch.linalg.lstsq(torch.cat([values, ones], 1), torch.cat([theirs, ones], 1)).solution[:, :-1]
        weight, bias = known["input_proj.weight"], known["input_proj.bias"]
        known["input_proj.weight"], known["input_proj.bias"] = weight @ found[:-1].T, weight @ found[-1] + bias
    port.load_state_dict(known)
    if len(model.encoders) > 1 and hasattr(model.connector.fusion, "weighting"):  # the mixture is a mean at first
        port.output_proj.weight.mul_(len(model.encoders))
        port.output_proj.bias.mul_(len(model.encoders))


@torch.no_grad()
def _start_fusion(fusion: Any, streams: int) -> None:
    """Even weights at first; channels joined so that the first stream passes."""
    weighting = getattr(fusion, "weighting", None)
    for name in ("query", "output"):
        part = getattr(weighting, name, None)
        if part is not None:
            (part if isinstance(part, nn.Parameter) else part.weight).mul_(0.02)
    if hasattr(fusion, "proj"):
        width = len(fusion.proj.weight)
        fusion.proj.weight.copy_(torch.cat([torch.eye(width), *[0.3 * torch.eye(width)] * (streams - 1)], 1))
        nn.init.zeros_(fusion.proj.bias)


def _tokens(root: RowRoot, batch: Batch) -> Blocks:
    first = next(iter(batch.features.values()))
    return root.model.connector(batch.features, first.item, first.scene)[0]["video"]


def _aim(root: RowRoot, batch: Batch, blocks: Blocks) -> Tensor:
    """Squared distance to what the language model was taught on, in units of its variance; tokens that stand one stream
    after the other are summed."""
    wanted = root.codebook(batch.tokens, batch.labels)
    return functional.mse_loss(blocks.values.sum(1), wanted) / wanted.var()


class _Aim:
    def __call__(self, root: RowRoot, batch: Batch) -> dict[str, Tensor]:
        return {"loss": _aim(root, batch, _tokens(root, batch))}


class _Answers:
    """Answer, and keep to the aim."""

    def __call__(self, root: RowRoot, batch: Batch) -> dict[str, Tensor]:
        blocks = _tokens(root, batch)
        answers, aim = _answer_loss(root.model, batch, blocks), _aim(root, batch, blocks)
        return {"loss": answers + 0.2 * aim, "answers": answers, "aim": aim}


def accuracy(root: RowRoot, step: int, *, examples: int, seed: int = 0) -> dict[str, float]:
    """Share of right answers per family, on scenes of the test split."""
    asked = ToyQuestions(seed, examples, families=asked_families())
    return right_by_family(root.model, asked)


def _write_row(root: RowRoot, out: Path, *, settings: Mapping[str, Any]) -> dict[str, float]:
    """The whole model of row `attention`, beside the general eye's name; of the others what they learnt themselves."""
    model, row = root.model.half().float().eval(), settings["part"]  # as it will be read back
    figures = accuracy(root, -1, examples=settings["evaluation_examples"], seed=1)
    if row == "attention":
        folder = out / "assets" / MODEL
        model.half().save_pretrained(folder, bases={"encoders.general": "tiny-rgb"})
        model.float()
        _write_facts(folder / "asset.json", out, settings, figures=figures, parts=_facts_of(Path(settings["parts"])))
        return figures
    folder = out / "assets" / f"{MODEL}-rows"
    write_weights(folder / f"{row}.safetensors", own_weights(model))
    _write_facts(folder / f"{row}.json", out, settings, figures=figures)
    return figures
