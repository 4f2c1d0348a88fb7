"""Benchmark of the frame selectors `similarity` and `ground`: ``python -m benchmarks.similarity [--json FILE]``.

`paired`: tiny-base answers questions about one visit in long clips of the toy world (300 frames, visits of 6), from k frames that
`similarity`, `ground` or uniform sampling chose; the same questions, paired. `hour`: a generated clip of an hour (10 frames per
second, 48 x 48, a keyframe every two seconds) is indexed once and asked five times, by a selector of its own each time that shares
nothing but the feature store: frames scored, decoded and encoder calls, and seconds beside those of decoding the file alone.

`--b32` indexes the hour with a random CLIP ViT-B/32 too (its weights do not matter for time). Prints JSON with `criteria` like the
claims; exit 1 if one fails.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

import vidweave
from vidweave.evaluation.compare import mcnemar
from vidweave.evaluation.statistics import paired_bootstrap
from vidweave.media.video import VideoReader
from vidweave.media.write import write_video
from vidweave.model.assets import asset_folder
from vidweave.pipelines.frame_selection.names import frame_selector
from vidweave.pipelines.frame_selection.similarity import SimilaritySelector
from vidweave.toyworld import attributes as a
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import ToyScene, sample_scene
from vidweave.toyworld.splits import scene_seeds
from vidweave.types import Clip, Query

MODEL = "tiny-siglip"
HOUR_FRAMES, HOUR_FPS = 36_000, 10.0
MOST_SHARE = 0.02  # of the frames of an hour that are scored for a question
MOST_OF_DECODING = 1.3  # index of an hour, in units of decoding all of it
MOST_MS = 8.0  # decoding and encoding of one scored frame
WORLD = 11  # number of the toy world whose scenes are asked about


def visit_questions(count: int) -> list[tuple[Query, str]]:
    """Questions with four options and their answers about one visit each, in unseen long clips."""
    rng, result = np.random.default_rng(0), []
    for seed in list(scene_seeds(WORLD, count)):
        scene = sample_scene(seed, length="long")
        visit = scene.objects[int(rng.integers(len(scene.objects)))]
        wrong = [str(s) for s in rng.permutation([s for s in a.SHAPES if s != visit.shape])[:3]]
        options = [str(s) for s in rng.permutation([visit.shape, *wrong])]
        clip = Clip(render(scene, "video"))
        result.append((Query.about(clip, f"What shape is the {visit.colour} object?", options), visit.shape))
    return result


def paired(count: int, frames: Sequence[int]) -> dict[str, Any]:
    """Accuracy at k frames by selector, and the difference from uniform frames with its 95% interval."""
    pipe, asked = vidweave.load("tiny-base"), visit_questions(count)
    selectors = {name: frame_selector(f"{name}:{MODEL}") for name in ("similarity", "ground")}
    result: dict[str, Any] = {}
    for k in frames:
        right = {
            name: [
                pipe.answer(q, num_frames=k, selector=selector, trace=False)[0].text == answer for q, answer in asked
            ]
            for name, selector in {"uniform": "uniform", **selectors}.items()
        }
        result[str(k)] = {"uniform": {"accuracy": float(np.mean(right["uniform"]))}}
        for name in selectors:
            interval = paired_bootstrap(np.array(right[name], float), np.array(right["uniform"], float))
            pairs = list(zip(right[name], right["uniform"], strict=True))
            result[str(k)][name] = {
                "accuracy": float(np.mean(right[name])),
                "difference": float(np.mean(right[name]) - np.mean(right["uniform"])),
                "interval": [interval.low, interval.high],
                "p_value": mcnemar(sum(x and not y for x, y in pairs), sum(y and not x for x, y in pairs)),
            }
    return {"questions": count, "by_frames": result}


def hour_scene() -> ToyScene:
    """The scene of the hour: five or six visits of eight seconds."""
    seed = next(iter(scene_seeds(WORLD, 1)))
    return sample_scene(seed, length="long", num_frames=HOUR_FRAMES, event_frames=80, fps=HOUR_FPS)


def write_hour(path: Path) -> Path:
    """Write the hour as a file, unless it is there."""
    if not path.is_file():
        options = {"preset": "ultrafast", "g": "20", "crf": "20"}
        write_video(path, render(hour_scene(), "video"), fps=HOUR_FPS, options=options)
    return path


def decode_seconds(path: Path) -> float:
    """Seconds of opening the file and decoding all of its frames."""
    start = time.perf_counter()
    with VideoReader(path) as reader:
        for _ in reader.each(np.arange(reader.num_frames)):
            pass
    return time.perf_counter() - start


def hour(path: Path, model: str | Path, store: Path, num_frames: int = 8) -> dict[str, Any]:
    """Ask five questions about the hour, each with a new selector; what each cost, and whether it found its visit."""
    scene, questions = hour_scene(), []
    for visit in scene.objects[:5]:
        selector = SimilaritySelector(model, cache_folder=store)
        text = f"What shape is the {visit.colour} object?"
        chosen = selector.select(Clip(path), text, num_frames=num_frames)
        selector.close()
        start, end = visit.start_frame / HOUR_FPS, visit.end_frame / HOUR_FPS
        found = sum(start <= seconds < end for seconds in chosen.seconds)
        questions.append({"question": text, "reason": chosen.reason, "frames_of_visit": found, **chosen.costs})
    scored = sum(q["frames_decoded"] for q in questions)
    return {"questions": questions, "video_frames": HOUR_FRAMES, "frames_scored_by_all": scored}


def write_b32(folder: Path) -> Path:
    """Write a random CLIP ViT-B/32 with the tokenizer of the tiny model."""
    from transformers import CLIPConfig, CLIPModel

    tiny = asset_folder(MODEL)
    assert tiny is not None, f"{MODEL} is shipped"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    CLIPModel(CLIPConfig()).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((tiny / name).read_bytes())
    preprocessor = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 224},
        "crop_size": {"height": 224, "width": 224},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor), encoding="utf-8")
    return folder


def judge(accuracies: dict[str, Any], index: dict[str, Any], decoding: float, b32: dict[str, Any] | None) -> list[dict]:
    """One criterion per bar."""
    criteria: list[dict[str, Any]] = []

    def bar(name: str, value: float, ok: bool, limit: float) -> None:
        criteria.append({"name": name, "value": value, "bar": limit, "ok": bool(ok)})

    for k, rows in accuracies["by_frames"].items():
        for name in ("similarity", "ground"):
            low = rows[name]["interval"][0]
            bar(f"{name} minus uniform at {k} frames, lower end of the 95% interval", low, low > 0, 0)
    first, *later = index["questions"]
    share = max(q["frames_scored"] for q in index["questions"]) / index["video_frames"]
    bar("share of an hour's frames scored for a question", share, share <= MOST_SHARE, MOST_SHARE)
    most = max(q["frames_decoded"] for q in later)
    bar("frames decoded for a later question", most, most <= 64, 64)
    found = sum(q["frames_of_visit"] > 0 for q in index["questions"])
    bar("of five questions, those whose visit is among the chosen frames", found, found == 5, 5)
    ratio = first["seconds"] / decoding
    bar("index of an hour, in units of decoding it", ratio, ratio <= MOST_OF_DECODING, MOST_OF_DECODING)
    each = 1e3 * first["seconds"] / first["frames_decoded"]
    bar("milliseconds of a scored frame", each, each <= MOST_MS, MOST_MS)
    if b32 is not None:
        share = b32["questions"][0]["frames_scored"] / b32["video_frames"]
        bar("share of an hour's frames scored with CLIP ViT-B/32", share, share <= MOST_SHARE, MOST_SHARE)
    return criteria


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=200, help="questions of the paired comparison")
    parser.add_argument("--frames", type=int, nargs="+", default=[4, 8, 16], help="numbers of frames (k)")
    parser.add_argument("--folder", type=Path, help="keep the clip of an hour there")
    parser.add_argument("--b32", action="store_true", help="index the hour with a random CLIP ViT-B/32 too")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with TemporaryDirectory(prefix="vidweave-") as temporary:
        place = Path(temporary)
        path = write_hour((arguments.folder or place) / "hour.mp4")
        decoding = decode_seconds(path)
        index = hour(path, MODEL, place / "store")
        b32 = hour(path, write_b32(place / "b32"), place / "store") if arguments.b32 else None
    accuracies = paired(arguments.questions, arguments.frames)
    criteria = judge(accuracies, index, decoding, b32)
    machine = {"machine": platform.processor() or platform.machine(), "threads": arguments.threads}
    measured = {"paired": accuracies, "hour": index, "decode_seconds": decoding, "b32": b32}
    text = json.dumps({**machine, **measured, "criteria": criteria}, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 0 if all(criterion["ok"] for criterion in criteria) else 1


if __name__ == "__main__":
    sys.exit(main())
