"""Long clips as the frozen parts encode them, with the pseudo labels of their questions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import vidweave
from vidweave.data.schema import Example
from vidweave.errors import ConfigError
from vidweave.media.frames import HeldFrames
from vidweave.media.motion import read_motion
from vidweave.media.open import open_source
from vidweave.media.write import write_video
from vidweave.pipelines.frame_scores import FrameScorer
from vidweave.systems.videotgb.tiny import GRID, MOTION_FPS, MotionSource
from vidweave.tiny.scenes import train_scene
from vidweave.toyworld.questions import questions
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import ToyScene
from vidweave.training.pseudo_labels import PseudoLabel, label_clips, span_share
from vidweave.types import Clip, MotionSpec, Query

__all__ = ["Asked", "FAMILIES", "SeenClip", "asked_about", "encoded", "labelled_clips"]

FAMILIES = ("event_colour", "event_shape")


LABELLED = "event_colour"


SOURCES: tuple[MotionSource, ...] = ("motion_vectors", "frame_differences", "flow")


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
        frames: Any = render(scene, "video", size=size)
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
def labelled_clips(
    base_name: str,
    count: int,
    num_frames: int,
    size: int,
    candidates: int,
    labels: str,
    least_share: float,
    has_pictures: bool,
) -> list[SeenClip]:
    """All clips; their pseudo labels come from single pictures, and are kept in a file."""
    base = vidweave.load(base_name)
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


def _see(
    eye: FrameScorer | None, scene: ToyScene, clip: Clip, asked: list[tuple[Query, PseudoLabel]], size: int
) -> SeenClip:
    looked = None if eye is None else eye.look(clip)
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
