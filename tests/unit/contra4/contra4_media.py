"""Small media for scenes, and models that look at them."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import numpy as np

from vidweave.contra4.schema import SceneRef
from vidweave.types import Answer, Clip, Frames, OptionScore, PointCloud, Waveform


def clip_of(scene: SceneRef) -> Clip:
    """A medium whose brightness, loudness or extent is decided by the scene's id."""
    loud = 0.05 + crc32(str(scene.id).encode()) % 900 / 1000
    made: dict[str, Any] = {
        "audio": Waveform(np.full(800, loud, np.float32), 8_000),
        "image": Frames.from_array(np.full((1, 12, 14, 3), int(250 * loud), np.uint8), fps=1),
        "video": Frames.from_array(np.full((5, 12, 14, 3), int(250 * loud), np.uint8), fps=2),
        "point_cloud": PointCloud(np.full((7, 3), loud, np.float32)),
    }
    return Clip(**{scene.clip_modality: made[scene.clip_modality]})


def brightness(clip: Clip) -> float:
    """What a model that looks sees of a clip."""
    (source,) = clip.values()
    values = {Waveform: "samples", Frames: "values", PointCloud: "coordinates"}[type(source)]
    mean = float(np.mean(np.abs(getattr(source, values))))
    return mean / 250 if isinstance(source, Frames) else mean


class Brightest:
    """Chooses the brightest scene; of a single one it says yes as far as it is bright."""

    def describe(self) -> dict[str, Any]:
        return {"model": "brightest"}

    def answer(self, queries, **decoding) -> list[Answer]:
        return [self._one(query) for query in queries]

    def _one(self, query) -> Answer:
        if set(query.options) == {"yes", "no"}:
            likely = brightness(query.scenes[0].clip)
            return Answer("", (OptionScore("yes", np.log(likely)), OptionScore("no", np.log(1 - likely))))
        worths = [brightness(scene.clip) for scene in query.scenes]
        return Answer(query.options[int(np.argmax(worths))])
