"""Worlds as files: clips in every modality, and their questions."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidweave.errors import ConfigError, UnknownNameError
from vidweave.storage import atomic_folder
from vidweave.toyworld import attributes as a
from vidweave.toyworld.captions import caption
from vidweave.toyworld.questions import QUESTION_TYPES, question_types, questions
from vidweave.toyworld.render import RENDERERS, render
from vidweave.toyworld.scene import Length, ToyScene, sample_scene
from vidweave.toyworld.splits import scene_seeds
from vidweave.types import Frames, PointCloud, Waveform

__all__ = ["WorldReport", "write_toyworld"]


@dataclass(frozen=True)
class WorldReport:
    """Summary of a written world."""

    folder: Path
    num_clips: int
    num_questions: int


def write_toyworld(
    out: str | os.PathLike[str],
    seed: int,
    num_clips: int,
    *,
    length: Length = "short",
    modalities: tuple[str, ...] = tuple(RENDERERS),
    asked: tuple[str, ...] = (),
    size: int = a.WORLD_PX,
    num_frames: int | None = None,
    progress: Callable[[list[ToyScene]], Iterable[ToyScene]] = iter,
) -> WorldReport:
    """Write clips of unseen scenes, `questions.jsonl` and `examples.jsonl` into the folder `out`, all or nothing.

    Each clip has an `.mp4` (lossless, with its audio), a `.wav`, an array `_NAME.npy` (T, H, W, K) for every other frame
    modality, with its timestamps beside it, an array of points (P, 3), units as in `toyworld.render`, and a `.json` with
    the scene. Each line of `questions.jsonl` has `clip` (the video's path within `out`), `question`, `options`, `answer`,
    `question_type`, `needs`, `scope`, `encoder` and `paths` (modality → path within `out`). `examples.jsonl` holds the same
    questions in the format of own data (docs/datasets.md), each with the video and the modalities that it needs.

    Args:
        out: A folder that is empty or does not exist yet.
        seed: Number of the world, 0 to 2**41 - 1; its scenes are of the test split, never trained on.
        num_clips: Number of clips.
        length: `short` or `long` clips.
        modalities: Modalities to write; only questions that need no other modality are included.
        asked: Question types; empty for all.
        size: Width and height in pixels.
        num_frames: Frames per clip; None is the default of its length.
        progress: Wraps the iteration over the scenes, to show the progress.

    Raises:
        ConfigError: `out` is not empty, or there is nothing to write.
        UnknownNameError: a modality without a renderer, or an unknown question type.
    """
    if "video" not in modalities:
        raise ConfigError(f"a written world has at least the video, got {', '.join(modalities) or 'nothing'}")
    for name in modalities:
        if name not in RENDERERS:
            raise UnknownNameError("toy world modality", name, RENDERERS)
    for name in asked:
        if name not in QUESTION_TYPES:
            raise UnknownNameError("question type", name, QUESTION_TYPES)
    # Both import their dependencies before the folder exists: an interrupt during an import may be lost.
    import vidweave.media.write  # noqa: F401

    scenes = [sample_scene(s, length=length, num_frames=num_frames) for s in scene_seeds(seed, num_clips)]
    numbered, num_questions = enumerate(progress(scenes)), 0
    with (
        _complete_folder(Path(out)) as folder,
        (folder / "questions.jsonl").open("w", encoding="utf-8") as lines,
        (folder / "examples.jsonl").open("w", encoding="utf-8") as own,
    ):
        for i, scene in numbered:
            paths = _write_clip(folder, f"clip_{i:04d}", scene, modalities, size)
            for line in _lines(scene, paths, modalities, asked):
                lines.write(json.dumps(line) + "\n")
                own.write(json.dumps(_own_row(f"clip_{i:04d}", line)) + "\n")
                num_questions += 1
    return WorldReport(Path(out), num_clips, num_questions)


def _own_row(clip: str, line: dict[str, Any]) -> dict[str, Any]:
    """A row of own data (`data.examples`) for a line of questions.jsonl."""
    media = {name: line["paths"][name] for name in sorted({"video", *line["needs"]})}
    answered = {name: line[name] for name in ("question", "options", "answer")}
    return {"id": f"{clip}/{line['question_type']}", **media, **answered, "type": line["question_type"]}


def _lines(
    scene: ToyScene, paths: dict[str, str], modalities: tuple[str, ...], asked: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    known = question_types(scope=scene.length).items()
    names = [n for n, f in known if f.needs <= set(modalities) and (not asked or n in asked)]
    for item in questions(scene, question_types=names):
        yield {
            "clip": paths["video"],
            "question": item.text,
            "options": list(item.options),
            "answer": item.answer,
            "question_type": item.question_type,
            "needs": sorted(item.needs),
            "scope": item.scope,
            "encoder": item.encoder,
            "paths": paths,
        }


def _write_clip(folder: Path, name: str, scene: ToyScene, modalities: tuple[str, ...], size: int) -> dict[str, str]:
    """Write the modalities of one scene; return modality → path within the folder."""
    audio = render(scene, "audio") if "audio" in modalities else None
    assert audio is None or isinstance(audio, Waveform)
    paths = {}
    for modality in modalities:
        path = folder / f"{name}{_SUFFIXES.get(modality, f'_{modality}.npy')}"
        paths[modality] = path.name
        _write_modality(path, render(scene, modality, size=size), scene.fps, audio)
    contents = {"caption": caption(scene), **asdict(scene)}
    (folder / f"{name}.json").write_text(json.dumps(contents, indent=1) + "\n", encoding="utf-8")
    return paths


_SUFFIXES = {"video": ".mp4", "audio": ".wav"}


def _write_modality(path: Path, media: Frames | Waveform | PointCloud, fps: float, audio: Waveform | None) -> None:
    """Write one modality in the format of the suffix of `path`; a video includes its audio."""
    from vidweave.media.write import write_array, write_audio, write_points, write_video

    if isinstance(media, Waveform):
        write_audio(path, media)
    elif isinstance(media, PointCloud):
        write_points(path, media)
    elif path.suffix == ".mp4":
        write_video(path, media, fps=fps, audio=audio, lossless=True)
    else:
        write_array(path, media)


@contextmanager
def _complete_folder(out: Path) -> Iterator[Path]:
    """Yield a folder beside `out` that becomes `out` on success, and is removed otherwise."""
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise ConfigError(f"{out} is not an empty folder; give the path of a new or empty one")
    with atomic_folder(out) as made:
        yield made
