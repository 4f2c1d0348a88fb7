"""Benchmark of the feature cache: ``python -m benchmarks.cache [--json FILE]``.

First and cached epochs of a tiny and a mid-size training run, bytes per clip, frames decoded for all encoders together,
and the cost of the mixer relative to the encoders. Ratios are measured side by side in one run; prints JSON with `criteria`
like the claims, exit 1 if one fails. Bounds are given beside the results: a cached epoch cannot be faster than its steps.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import vidweave
from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.mixer import MixerConfig
from vidweave.connectors.mlp import MLPConfig
from vidweave.connectors.ports import PortConfig
from vidweave.encoders.patch import PatchEncoderConfig
from vidweave.encoders.tiny import PIXELS
from vidweave.language.chat import LLAMA2_BASE
from vidweave.media import video
from vidweave.media.write import write_video
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import ModelSpec, StreamConfig, VideoLanguageConfig
from vidweave.model.pool import pool_tokens
from vidweave.model.processor import Processor
from vidweave.pipelines.slot import SlotPipeline
from vidweave.selectors.uniform import UniformSelectorConfig
from vidweave.systems.merv.tiny import tiny_merv
from vidweave.tiny.scenes import train_scene
from vidweave.toyworld.render import render_rgb
from vidweave.types import Clip, Features, FrameNeed, Frames, PoolSpec, Query

LEAST_GAIN, MOST_MIXER = 5.0, 0.03


# Trainable parameters of a run: the connector as in the recipe `tiny/merv`, and MERV's one stage as in `merv/frozen`.
TINY_TRAINABLE = ("connector.ports.", "connector.fusion.", "connector.trunks.detail.", "connector.trunks.tempo.")
MIDDLE_TRAINABLE = ("connector.", "language_model.")


def tiny() -> VideoLanguageConfig:
    """Build tiny-merv: three encoders of 0.2 to 0.8 million weights."""
    return tiny_merv()


def middle() -> VideoLanguageConfig:
    """Build two encoders of 22 million weights each (ViT-S) over eight frames, pooled before the cache, a mixer, the tiny Llama."""
    base = tiny_merv().parse()
    encoder = PatchEncoderConfig(size=96, patch=8, width=384, layers=12, heads=6, chunk=64, specs={
        "video": replace(PIXELS, height=96, width=96)})  # fmt: skip
    names = ("one", "two")
    spec = ModelSpec(
        selector=UniformSelectorConfig(),
        encoders=dict.fromkeys(names, encoder),
        streams={n: StreamConfig(encoder=n, modalities=("video",), need=FrameNeed(num_frames=8), pool=PoolSpec(grid=3)) for n in names},
        connector=ConnectorConfig(
            trunks={n: MLPConfig(key_width=384, widths=(128,)) for n in names},
            ports={n: PortConfig(trunk=n, input_width=384, output_proj=False) for n in names},
            fusion=MixerConfig(name="video", streams=names, query_width=128),
            output_width=128,
        ),
        language_model=base.language_model,
        layout=LLAMA2_BASE.layout(),
    )  # fmt: skip
    return VideoLanguageConfig(spec, name="middle")


def build(config: VideoLanguageConfig, trainable: tuple[str, ...]) -> VideoLanguageModel:
    """Build a model with trainable parameters given by their prefixes."""
    torch.manual_seed(0)
    model = VideoLanguageModel(config).eval()
    model.processor = Processor(config, vidweave.load("tiny-base").processor.tokenizers)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(trainable))
    return model


def clips(folder: Path, count: int) -> list[Clip]:
    """Write toy clips as files, so that the cost of decoding is realistic."""
    written = []
    for index in range(count):
        file = folder / f"{index}.mp4"
        scene = train_scene(index)
        write_video(file, Frames.from_array(render_rgb(scene), fps=scene.fps))
        written.append(Clip(file))
    return written


def epoch(pipe: SlotPipeline, data: list[Clip], batch: int) -> dict[str, float]:
    """Train one epoch over the clips: total seconds, and seconds of the steps alone."""
    model = pipe.model
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    start, stepping = time.perf_counter(), 0.0
    for first in range(0, len(data), batch):
        queries = [Query.about(clip, "How many objects can be seen?") for clip in data[first : first + batch]]
        inputs = pipe.processor(queries, targets=["two"] * len(queries), cache=pipe.cache)
        ready = time.perf_counter()
        model(inputs).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        stepping += time.perf_counter() - ready
    return {"seconds": time.perf_counter() - start, "stepping_seconds": stepping}


def epochs(pipe: SlotPipeline, folder: Path, count: int, batch: int) -> dict[str, Any]:
    """Measure first and cached epochs, an epoch without a cache, and the bytes of a clip on disk."""
    data = clips(folder, count)
    plain = epoch(pipe, data, batch)
    pipe.use_cache_folder(folder / "features")
    first = epoch(pipe, data, batch)
    cached = [epoch(pipe, data, batch) for _ in range(2)]
    assert pipe.cache is not None
    pipe.cache.store.flush()
    stats = pipe.cache.store.stats()
    best = min(cached, key=lambda run: run["seconds"])
    return {
        "clips": count,
        "without_cache": plain,
        "first": first,
        "cached": best,
        "gain": first["seconds"] / best["seconds"],
        "bound": first["seconds"] / best["stepping_seconds"],
        "bytes_per_clip": stats.num_bytes / count,
        "hit_rate": stats.hit_rate,
    }


def decoding(folder: Path) -> dict[str, Any]:
    """Count the frames decoded for one clip, and the union of the encoders' requests."""
    model, (clip, *_) = build(tiny(), TINY_TRAINABLE), clips(folder, 1)
    calls: list[int] = []
    real = video.VideoReader.read

    def counted(self: Any, indices: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(len(indices))
        return real(self, indices, *args, **kwargs)

    with mock.patch.object(video.VideoReader, "read", counted):
        inputs = model.processor([Query.about(clip, "How many?")])
    used = [{index for index, _ in row.frames} for rows in inputs.provenance.values() for _, _, row in rows]
    return {
        "passes": len(calls),
        "decoded": sum(calls),
        "union": len(set.union(*used)),
        "requested": sum(map(len, used)),
    }


def mixer(rounds: int) -> dict[str, float]:
    """Measure seconds of two ViT-S encoders, and of their mixture, interleaved."""
    model = build(middle(), MIDDLE_TRAINABLE)
    pixels = torch.randn(1, 8, 1, 3, 96, 96)
    runs: dict[str, list[float]] = {"encoders": [], "mixture": []}
    features: dict[str, Any] = {}
    encoders: dict[str, Any] = dict(model.encoders.items())

    def encode() -> None:
        item = torch.zeros(1, dtype=torch.long)
        for name, encoder in encoders.items():
            tokens = pool_tokens(encoder.encode(pixels, "video"), PoolSpec(grid=3))
            seconds = torch.arange(9.0).unfold(0, 2, 1)[None]
            features[name] = Features(tokens, torch.ones(tokens.shape[:3], dtype=torch.bool), seconds, item, item)

    def mix() -> None:
        item = torch.zeros(1, dtype=torch.long)
        model.connector(features, item, item)

    with torch.no_grad():
        for _ in range(rounds):
            for name, work in (("encoders", encode), ("mixture", mix)):
                runs[name].append(_timed(work))
    medians = {name: statistics.median(times[1:]) for name, times in runs.items()}
    return {**medians, "share": medians["mixture"] / medians["encoders"]}


def _timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(count: int, rounds: int) -> dict[str, Any]:
    """Measure all results and their criteria."""
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / part for part in ("tiny", "middle", "decoding")]
        for folder in folders:
            folder.mkdir()
        figures = {
            "tiny": epochs(SlotPipeline(build(tiny(), TINY_TRAINABLE)), folders[0], count, 8),
            "middle": epochs(SlotPipeline(build(middle(), MIDDLE_TRAINABLE)), folders[1], count, 8),
            "decoding": decoding(folders[2]),
            "mixer": mixer(rounds),
        }
    decoded = figures["decoding"]
    criteria = [
        *(
            _criterion(f"{size}: cached epoch faster by", figures[size]["gain"], LEAST_GAIN)
            for size in ("tiny", "middle")
        ),
        _criterion("mixer's share of the encoders at most", figures["mixer"]["share"], MOST_MIXER, most=True),
        _criterion("decoded frames beyond the union", decoded["decoded"] - decoded["union"], 0, most=True),
    ]
    machine = {"machine": platform.machine(), "python": platform.python_version(), "threads": torch.get_num_threads()}
    return {"benchmark": "cache", **machine, **figures, "criteria": criteria}


def _criterion(name: str, value: float, threshold: float, *, most: bool = False) -> dict[str, Any]:
    ok = value <= threshold if most else value >= threshold
    return {"name": name, "value": value, "threshold": threshold, "ok": ok}


def main() -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.cache", description=__doc__)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the result here")
    options = parser.parse_args()
    result = measure(options.clips, options.rounds)
    text = json.dumps(result, indent=2)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0 if all(criterion["ok"] for criterion in result["criteria"]) else 1


if __name__ == "__main__":
    sys.exit(main())
