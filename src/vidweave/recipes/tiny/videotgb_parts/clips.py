"""Long clips as the frozen parts encode them, with the pseudo labels of their questions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from vidweave.data.schema import Example
from vidweave.errors import ConfigError
from vidweave.media.frames import HeldFrames
from vidweave.media.motion import read_motion
from vidweave.media.open import open_source
from vidweave.media.write import write_video
from vidweave.pipelines.frame_scores import FrameScorer
from vidweave.pipelines.slot import SlotPipeline
from vidweave.systems.videotgb.tiny import GRID, MOTION_FPS, MotionSource
from vidweave.tiny.scenes import train_scene
from vidweave.toyworld.questions import questions
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import ToyScene
from vidweave.training.pseudo_labels import PseudoLabel, label_clips, span_share
from vidweave.types import Clip, MotionSpec, Query

__all__ = ["EncodedClip", "QUESTION_TYPES", "LabeledQuestions", "encode_video", "labeled_clips", "questions_about"]

QUESTION_TYPES = ("event_colour", "event_shape")


LABELLED = "event_colour"


SOURCES: tuple[MotionSource, ...] = ("motion_vectors", "frame_differences", "flow")


@dataclass(frozen=True, eq=False)
class EncodedClip:
    """A long clip as encoded by the frozen parts.

    Attributes:
        motion: Source → (L, 2, GRID, GRID) maps; `steps` (L, 2) their seconds.
        times: (N,) seconds of all frames; `frames` (N, tokens, width) their features, in half precision; both empty
            if no stage uses frames.
        questions: Questions with their pseudo labels.
    """

    motion: dict[str, np.ndarray]
    steps: np.ndarray
    times: np.ndarray
    frames: np.ndarray
    questions: list[tuple[Query, PseudoLabel]]


def encode_video(scene: ToyScene, size: int) -> bytes:
    """Encode the scene as an H.264 file."""
    with TemporaryDirectory() as folder:
        frames: Any = render(scene, "video", size=size)
        return write_video(Path(folder) / "clip.mp4", frames, fps=scene.fps).read_bytes()


def questions_about(index: int, scene: ToyScene, clip: Clip) -> list[Example]:
    """List every distinct question of QUESTION_TYPES about the scene."""
    examples: dict[str, Example] = {}
    for seed in range(24):
        for item in questions(scene, seed=seed, question_types=QUESTION_TYPES):
            name = f"{item.question_type}/{index}/{item.text}"
            query = Query.about(clip, item.text, item.options)
            examples.setdefault(
                item.text,
                Example(id=name, question_type=item.question_type, query=query, answer=item.answer, scope="long"),
            )
    return list(examples.values())


@cache
def labeled_clips(
    base_name: str,
    count: int,
    num_frames: int,
    size: int,
    candidates: int,
    labels: str,
    least_share: float,
    has_frames: bool,
) -> list[EncodedClip]:
    """Encode all clips and label their questions by single frames; the labels are kept in a file."""
    base = SlotPipeline.load(base_name)
    scorer = FrameScorer(base, num_candidates=candidates, batch_size=candidates)
    frame_encoder = FrameScorer(base, num_candidates=num_frames) if has_frames else None
    scenes = [train_scene(index, length="long", num_frames=num_frames) for index in range(count)]
    files = [Clip(encode_video(scene, size)) for scene in scenes]
    examples = [questions_about(i, scene, clip) for i, (scene, clip) in enumerate(zip(scenes, files, strict=True))]
    colours = [example for one in examples for example in one if example.question_type == LABELLED]
    scored = list(label_clips(scorer, colours, labels, subtract="median", provenance={"data": "toyworld long"}))
    labels_of = {
        _event(example): label
        for example, label in zip(colours, scored, strict=True)
        if span_share(label, "median") >= least_share
    }
    if not labels_of:
        raise ConfigError(
            f"none of {len(scored)} labels has a share of {least_share} or more; lower least_share, or use more clips"
        )
    return [
        _encoded(frame_encoder, scene, clip, _with_labels(one, labels_of), size)
        for scene, clip, one in zip(scenes, files, examples, strict=True)
    ]


def _with_labels(
    examples: list[Example], labels_of: Mapping[tuple[str, str], PseudoLabel]
) -> list[tuple[Query, PseudoLabel]]:
    """Pair the questions of labeled events with the labels of those events."""
    pairs = [(example, labels_of[_event(example)]) for example in examples if _event(example) in labels_of]
    return [(e.query, replace(label, id=e.id, question=e.query.text, answer=e.answer)) for e, label in pairs]


def _event(example: Example) -> tuple[str, str]:
    """Identify the event of a question: its clip, and its description in the question."""
    _, index, text = example.id.split("/")
    return index, text.split(" that ")[1]


def _encoded(
    frame_encoder: FrameScorer | None,
    scene: ToyScene,
    clip: Clip,
    labeled: list[tuple[Query, PseudoLabel]],
    size: int,
) -> EncodedClip:
    encoded = None if frame_encoder is None else frame_encoder.encode(clip)
    maps = {}
    with open_source(clip["video"], "video") as video:
        for source in SOURCES:
            spec = MotionSpec(source=source, fps=MOTION_FPS, height=GRID, width=GRID)
            if source == "flow":
                flow: Any = render(scene, "flow", size=size)
                maps[source] = read_motion(HeldFrames(flow), spec)
            else:
                maps[source] = video.read_motion(spec)
    steps = maps["motion_vectors"].seconds
    return EncodedClip(
        {name: motion.values[: len(steps)] for name, motion in maps.items()},
        steps,
        np.zeros(0) if encoded is None else encoded.seconds,
        np.zeros(0) if encoded is None else encoded.features["video"].values[:, 0].half().numpy(),
        labeled,
    )


class LabeledQuestions:
    """Endless random questions: (clip, query, label, the example's random generator)."""

    def __init__(self, clips: list[EncodedClip]) -> None:
        self._flat = [(clip, query, label) for clip in clips for query, label in clip.questions]

    def __len__(self) -> int:
        return 2**31

    def __getitem__(self, index: int) -> tuple[EncodedClip, Query, PseudoLabel, np.random.Generator]:
        rng = np.random.default_rng([index, 14])
        return *self._flat[rng.integers(len(self._flat))], rng
