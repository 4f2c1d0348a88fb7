"""tiny-videotgb: a bridge that finds the moment a question asks for by watching motion; no temporal labels are used.

    vidweave train tiny/videotgb --out runs/tiny-videotgb

Bootstrapping as in the paper: tiny-base looks at single pictures of long clips and says how probable the true answer is;
the largest rectangle under its scores is the span. The bridge learns those spans (stage `bridge`, the paper's TG). Two things
make them cleaner: a label counts where most of what its scores say lies in the span, and the colour of an event is asked for
alone (two events of a clip may share their shape; measured on 600 labels each, 90% of colours' spans and 51% of shapes' touched
the event, and of colours with a share of 0.6 and more 96%). What was found so serves the question about the event's shape too.

Then tiny-base's connector learns to answer about long clips from few pictures (stage `answers`, the paper's IV): eye and Llama
stay frozen, and pictures come from the same spans, from even places, from random ones and from motion peaks in equal shares,
so that no way of selecting is at home. With `answer_steps=0` it stays tiny-base's own, which is enough to compare bridges.

Clips for training last 75 pictures, a quarter of those that the claim is measured on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

import vidweave
from vidweave.data.schema import Example
from vidweave.errors import ConfigError
from vidweave.language.splice import splice
from vidweave.media.frames import HeldFrames
from vidweave.media.motion import read_motion
from vidweave.media.open import open_source
from vidweave.media.write import write_video
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.frame_scores import FrameScorer
from vidweave.model.processor import Processor
from vidweave.nn.span_selection import inside_spans, pick_moments
from vidweave.selectors.motion_peaks import MotionPeaksSelectorConfig
from vidweave.systems.videotgb.tiny import GRID, MOTION_FPS, MotionSource, tiny_videotgb
from vidweave.tiny.asset_files import write_facts
from vidweave.tiny.scenes import train_scene
from vidweave.toyworld.questions import questions
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import ToyScene
from vidweave.training.pseudo_labels import PseudoLabel, label_clips, span_share
from vidweave.training.schedule import Schedule
from vidweave.training.stages import AdamWSettings, Pass, Run, Stage
from vidweave.types import Clip, Features, MotionSpec, PromptPlan, Query, Selection, TextTokens

__all__ = ["Asked", "MotionBatch", "PictureBatch", "SeenClip", "Settings", "asked_about", "encoded", "hits", "recipe"]

NAME, BASE = "tiny-videotgb", "tiny-base"
FAMILIES = ("event_colour", "event_shape")
LABELLED = "event_colour"
SOURCES: tuple[MotionSource, ...] = ("motion_vectors", "frame_differences", "flow")
POLICIES = ("label", "uniform", "random", "peaks")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Sizes and lengths; the defaults made the shipped model.

    `labels`: the file of pseudo labels, made if it is not there; runs with other seeds may share it.
    """

    seed: int = 0
    source: MotionSource = "motion_vectors"
    rope: Literal["sinusoid", "stored"] = "sinusoid"
    clips: int = 480
    num_frames: int = 75
    size: int = 96
    candidates: int = 38
    least_share: float = 0.6
    labels: str = "runs/tiny-videotgb/pseudo_labels.jsonl"
    bridge_steps: int = 1500
    bridge_batch: int = 32
    bridge_rate: float = 2e-3
    answer_steps: int = 240
    answer_batch: int = 24
    answer_rate: float = 5e-4
    evaluation_clips: int = 20


def recipe(**overrides: Any) -> Run:
    """The run; `overrides` are fields of Settings."""
    s = Settings(**overrides)
    base = vidweave.load(BASE)
    model = VideoLanguageModel(tiny_videotgb(s.source, rope=s.rope))
    model.load_state_dict(base.state_dict(), strict=False)  # all but the selector
    if s.rope == "stored":
        for table in (model.selector.bridge.step_table, model.selector.bridge.word_table):
            nn.init.normal_(table, std=0.02)
    model.processor = Processor(model.config, base.processor.tokenizers)
    clips = partial(_clips, s.clips, s.num_frames, s.size, s.candidates, s.labels, s.least_share, s.answer_steps > 0)
    optimizer = partial(AdamWSettings, weight_decay=0.01, betas=(0.9, 0.98))
    stages = [
        Stage(
            name="bridge",
            objective=_Ground(),
            examples=lambda _: Asked(clips()),
            collate=partial(_collate_motion, model.processor, s.source),
            passes=(Pass("bridge", ("selector.*",)),),
            steps=max(1, s.bridge_steps),
            batch_size=s.bridge_batch,
            optimizer=optimizer(lr=s.bridge_rate),
            schedule=Schedule("cosine", warmup_steps=40, min_lr_ratio=0.02),
        ),
        Stage(
            name="answers",
            objective=_AnswerFromFew(),
            examples=lambda _: Asked(clips()),
            collate=partial(_collate_pictures, model),
            passes=(Pass("connector", ("connector.*",)),),
            steps=max(1, s.answer_steps),
            batch_size=s.answer_batch,
            optimizer=optimizer(lr=s.answer_rate),
            schedule=Schedule("cosine", warmup_steps=20, min_lr_ratio=0.02),
        ),
    ]
    return Run(
        name=NAME,
        model=model,
        stages=[stage for stage, steps in zip(stages, (s.bridge_steps, s.answer_steps), strict=True) if steps],
        seed=s.seed,
        finish=partial(_finish, settings=asdict(s)),
        config=asdict(s),
    )


# -- clips and their pseudo labels -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class SeenClip:
    """A long clip as the frozen parts see it.

    Attributes:
        motion: Source → (L, 2, GRID, GRID) maps; `steps` (L, 2) their seconds.
        times: (N,) seconds of all pictures; `pictures` (N, tokens, width) their features, in half precision; both empty
            where no stage looks at pictures.
        asked: Questions with their pseudo labels.
    """

    motion: dict[str, np.ndarray]
    steps: np.ndarray
    times: np.ndarray
    pictures: np.ndarray
    asked: list[tuple[Query, PseudoLabel]]


def encoded(scene: ToyScene, size: int) -> bytes:
    """The scene as an H.264 file."""
    with TemporaryDirectory() as folder:
        frames = render(scene, "video", size=size)
        return write_video(Path(folder) / "clip.mp4", frames, fps=scene.fps).read_bytes()


def asked_about(index: int, scene: ToyScene, clip: Clip) -> list[Example]:
    """Every question of the families about the scene, once."""
    found: dict[str, Example] = {}
    for seed in range(24):
        for asked in questions(scene, seed=seed, families=FAMILIES):
            name = f"{asked.family}/{index}/{asked.text}"
            query = Query.about(clip, asked.text, asked.options)
            found.setdefault(
                asked.text, Example(id=name, family=asked.family, query=query, truth=asked.answer, scope="long")
            )
    return list(found.values())


@cache
def _clips(
    count: int, num_frames: int, size: int, candidates: int, labels: str, least_share: float, has_pictures: bool
) -> list[SeenClip]:
    """All clips; their pseudo labels come from single pictures, and are kept in a file."""
    base = vidweave.load(BASE)
    scorer = FrameScorer(base, num_candidates=candidates, batch_size=candidates)
    eye = FrameScorer(base, num_candidates=num_frames) if has_pictures else None
    scenes = [train_scene(index, length="long", num_frames=num_frames) for index in range(count)]
    files = [Clip(encoded(scene, size)) for scene in scenes]
    examples = [asked_about(i, scene, clip) for i, (scene, clip) in enumerate(zip(scenes, files, strict=True))]
    colours = [example for one in examples for example in one if example.family == LABELLED]
    made = list(label_clips(scorer, colours, labels, subtract="median", provenance={"data": "toyworld long"}))
    found = {
        _event(example): label
        for example, label in zip(colours, made, strict=True)
        if span_share(label, "median") >= least_share
    }
    if not found:
        raise ConfigError(
            f"none of {len(made)} labels has a share of {least_share} or more; lower least_share, or take more clips"
        )
    return [
        _see(eye, scene, clip, _with_labels(one, found), size)
        for scene, clip, one in zip(scenes, files, examples, strict=True)
    ]


def _with_labels(
    examples: list[Example], found: Mapping[tuple[str, str], PseudoLabel]
) -> list[tuple[Query, PseudoLabel]]:
    """Questions whose event was found, each with the label of that event."""
    known = [(example, found[_event(example)]) for example in examples if _event(example) in found]
    return [(e.query, replace(label, id=e.id, question=e.query.text, answer=e.truth)) for e, label in known]


def _event(example: Example) -> tuple[str, str]:
    """The clip, and what the event is called in the question."""
    _, index, text = example.id.split("/")
    return index, text.split(" that ")[1]


def _see(eye: FrameScorer, scene: ToyScene, clip: Clip, asked: list[tuple[Query, PseudoLabel]], size: int) -> SeenClip:
    looked = None if eye is None else eye.look(clip)
    maps = {}
    with open_source(clip["video"], "video") as video:
        for source in SOURCES:
            spec = MotionSpec(source=source, fps=MOTION_FPS, height=GRID, width=GRID)
            if source == "flow":
                maps[source] = read_motion(HeldFrames(render(scene, "flow", size=size)), spec)
            else:
                maps[source] = video.read_motion(spec)
    steps = maps["motion_vectors"].seconds
    return SeenClip(
        {name: found.values[: len(steps)] for name, found in maps.items()},
        steps,
        np.zeros(0) if looked is None else looked.seconds,
        np.zeros(0) if looked is None else looked.features["video"].values[:, 0].half().numpy(),
        asked,
    )


class Asked:
    """One question after another: (clip, query, label, a generator of its own)."""

    def __init__(self, clips: list[SeenClip]) -> None:
        self._flat = [(clip, query, label) for clip in clips for query, label in clip.asked]

    def __len__(self) -> int:
        return 2**31

    def __getitem__(self, index: int) -> tuple[SeenClip, Query, PseudoLabel, np.random.Generator]:
        rng = np.random.default_rng([index, 14])
        return *self._flat[rng.integers(len(self._flat))], rng


# -- stage 1: where is it? ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MotionBatch:
    """Motion of clips, what is asked, and the spans (B, 1, 2) in seconds."""

    motion: Features
    text: TextTokens
    spans: Tensor

    def to(self, device: Any) -> MotionBatch:
        return MotionBatch(self.motion.to(device), self.text.to(device), self.spans.to(device))


def _collate_motion(processor: Processor, source: str, examples: list[Any]) -> MotionBatch:
    moved = [_moved(clip.motion[source], rng) for clip, _, _, rng in examples]
    maps = torch.from_numpy(np.stack(moved))
    steps = torch.from_numpy(np.stack([clip.steps for clip, *_ in examples])).float()
    values = maps.flatten(2)[:, :, None]  # one patch: the whole map
    item = torch.arange(len(examples))
    motion = Features(values, torch.ones(values.shape[:3], dtype=torch.bool), steps, item, torch.zeros_like(item))
    spans = torch.tensor([[[label.start, label.end]] for _, _, label, _ in examples])
    return MotionBatch(motion, processor.read_text("selector", [query.text for _, query, *_ in examples]), spans)


def _moved(maps: np.ndarray, rng: np.random.Generator, most: int = 3) -> np.ndarray:
    """Maps (L, 2, H, W) moved by up to `most` cells, with rest where nothing is known: a kind of motion is the same anywhere."""
    down, right = rng.integers(-most, most + 1, 2)
    height, width = maps.shape[-2:]
    wide = np.pad(maps, ((0, 0), (0, 0), (most, most), (most, most)))
    return wide[:, :, most - down : most - down + height, most - right : most - right + width]


class _Ground:
    """The bridge finds the pseudo label."""

    def __call__(self, model: VideoLanguageModel, batch: MotionBatch) -> dict[str, Tensor]:
        middles = batch.motion.seconds.mean(-1)
        real = torch.ones_like(middles, dtype=torch.bool)
        selection = model.selector(batch.motion, batch.text, middles, real, k=1)
        return {"loss": model.selector.loss(selection, batch.spans)}


# -- stage 2: what is it? ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PictureBatch:
    """Features of the pictures that were picked, and prompts with answers."""

    features: Features
    plan: PromptPlan

    def to(self, device: Any) -> PictureBatch:
        return PictureBatch(self.features.to(device), self.plan.to(device))


def _collate_pictures(model: VideoLanguageModel, examples: list[Any]) -> PictureBatch:
    rows = [_picked(clip, label, rng) for clip, _, label, rng in examples]
    longest = max(map(len, rows))
    width = examples[0][0].pictures.shape[1:]
    values, seconds = torch.zeros(len(rows), longest, *width), torch.zeros(len(rows), longest, 2)
    mask = torch.zeros(len(rows), longest, width[0], dtype=torch.bool)
    for i, ((clip, *_), row) in enumerate(zip(examples, rows, strict=True)):
        values[i, : len(row)] = torch.from_numpy(clip.pictures[row]).float()
        seconds[i, : len(row)] = torch.from_numpy(clip.times[row]).float()[:, None]
        mask[i, : len(row)] = True
    item = torch.arange(len(rows))
    tokenizer = model.processor.tokenizers["language"]
    groups = {("video", i, 0): 1 for i in range(len(rows))}
    asked, answers = [query for _, query, *_ in examples], [label.answer for _, _, label, _ in examples]
    plan = model.spec.layout.plan(asked, tokenizer, groups, answers)
    return PictureBatch(Features(values, mask, seconds, item, torch.zeros_like(item)), plan)


def _picked(clip: SeenClip, label: PseudoLabel, rng: np.random.Generator) -> list[int]:
    """Indices of 4 or 8 pictures by one of the POLICIES."""
    k, policy = int(rng.choice([4, 8])), POLICIES[rng.integers(len(POLICIES))]
    times = torch.from_numpy(clip.times)[None]
    real = torch.ones_like(times, dtype=torch.bool)
    if policy == "label":
        span = torch.tensor([[[label.start, label.end]]], dtype=times.dtype)
        return pick_moments(inside_spans(times, span, torch.ones(1, 1, dtype=torch.bool)), real, k)[0][0].tolist()
    if policy == "uniform":
        return pick_moments(torch.zeros_like(times), real, k)[0][0].tolist()
    if policy == "random":
        return sorted(rng.choice(times.shape[1], k, replace=False).tolist())
    values = torch.from_numpy(clip.motion["motion_vectors"]).flatten(1)[None, :, None]
    steps = torch.from_numpy(clip.steps)[None]
    zero = torch.zeros(1, dtype=torch.long)
    motion = Features(values, torch.ones(values.shape[:3], dtype=torch.bool), steps, zero, zero)
    chosen: Selection = MotionPeaksSelectorConfig().build()(motion, None, times, real, k=k)
    return np.searchsorted(clip.times, chosen.seconds[0].numpy()).tolist()


class _AnswerFromFew:
    """The connector tells the frozen Llama what the pictures show."""

    def __call__(self, model: VideoLanguageModel, batch: PictureBatch) -> dict[str, Tensor]:
        seen = batch.features
        blocks, _ = model.connector({"video": seen}, seen.item, seen.scene)
        embeds = splice(batch.plan, blocks, model.language_model.embed, model.language_model.side)
        return {"loss": model.language_model.loss(embeds)}


# -- results -----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def hits(model: VideoLanguageModel, source: str, *, num_frames: int, clips: int, k: int = 4) -> float:
    """Share of chosen moments that lie in the asked event, on scenes that were not trained on: truth is only measured."""
    inside: list[bool] = []
    for index in range(10**6, 10**6 + clips):
        scene = train_scene(index, length="long", num_frames=num_frames)
        clip = {"video": encoded(scene, 96)} | ({"flow": render(scene, "flow", size=96)} if source == "flow" else {})
        (asked,) = questions(scene, families=FAMILIES[:1])
        (event,) = (o for o in scene.objects if o.colour == asked.answer)
        with model.processor.prepare(Query.about(Clip(**clip), asked.text)) as prepared:
            chosen = model.select(prepared, k=k)
        assert chosen is not None
        frames = (chosen.seconds[0] * scene.fps).round()
        inside += ((frames >= event.start_frame) & (frames < event.end_frame)).tolist()
    return float(np.mean(inside))


def _finish(model: VideoLanguageModel, out: Path, *, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Write the asset: bridge and connector beside the names of their frozen bases."""
    model = model.half().float().eval()  # as it will be read back
    figures = {
        f"hits_at_{n}": hits(model, settings["source"], num_frames=n, clips=settings["evaluation_clips"])
        for n in (75, 300)
    }
    folder = out / "assets" / NAME
    model.half().save_pretrained(folder, bases={"encoders.rgb": "tiny-rgb", "language_model": "tiny-llama"})
    model.float()
    write_facts(folder / "asset.json", __file__, out, {**settings, "figures": figures})
    return figures
