"""Benchmark of modalities: one Q-Former pass for all compared with one pass for each, and answers from cached features.

    python -m benchmarks.modalities [--json FILE] [--repeats N] [--paper]

Ratios are measured side by side in one run. The bound of a pass is its matrix products at the rate of one large product on
the same machine. An answer with five modalities from cached features should take at most 1.3 times one with one, if the
parts cost in the paper's proportion.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidweave.connectors.connector import Connector, ConnectorConfig
from vidweave.connectors.gated_fusion import GatedAddConfig
from vidweave.connectors.modality_adapters import AdapterConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.qformer import QFormerConfig
from vidweave.language.seq2seq import Seq2SeqConfig
from vidweave.types import Embeds, Features, TrunkInput

STREAMS = ("video", "audio", "depth", "flow", "normals")


@dataclass(frozen=True)
class Size:
    """Sizes of one comparison: rows are clips * segments per modality."""

    name: str
    qformer: QFormerConfig
    rank: int
    clips: int
    segments: int
    keys: int
    queries: int
    language: dict[str, Any]


def _t5(width: int, layers: int, heads: int, ff: int) -> dict[str, Any]:
    return {
        "model_type": "t5", "vocab_size": 512, "d_model": width, "d_kv": width // heads, "d_ff": ff, "num_layers": layers,
        "num_decoder_layers": layers, "num_heads": heads, "feed_forward_proj": "gated-gelu", "decoder_start_token_id": 0,
    }  # fmt: skip


SMALL = Size("small", QFormerConfig(hidden=128, layers=3, heads=4, intermediate=256, cross_attention_frequency=1,
             encoder_width=128), 8, 4, 4, 36, 16, _t5(128, 3, 4, 256))  # fmt: skip
# The paper's model with every width an eighth, so that Q-Former and language model cost in the paper's proportion.
EIGHTH = Size("eighth of the paper's widths", QFormerConfig(hidden=96, intermediate=384, encoder_width=176), 8, 1, 4, 257, 32,
              _t5(256, 24, 32, 640))  # fmt: skip
PAPER = Size("paper", QFormerConfig(), 64, 1, 4, 257, 32, _t5(512, 6, 8, 1024))


def connector(size: Size, streams: tuple[str, ...]) -> Connector:
    """Build one Q-Former, an adapter per stream, a gated fusion if there are several."""
    torch.manual_seed(0)
    port = PortConfig(
        trunk="qformer",
        input_width=size.qformer.encoder_width,
        input_norm=True,
        num_query_tokens=size.queries,
        adapter=AdapterConfig(rank=size.rank),
        absent="skip",
    )
    fusion = {"fusion": GatedAddConfig(streams=streams)} if len(streams) > 1 else {}
    width = size.language["d_model"]
    ports = dict.fromkeys(streams, port)
    return ConnectorConfig(trunks={"qformer": size.qformer}, ports=ports, output_width=width, **fusion).build().eval()


def features(size: Size, streams: tuple[str, ...]) -> dict[str, Features]:
    """Generate random features, as from an encoder's cache."""
    generator = torch.Generator().manual_seed(1)
    shape = (size.clips, size.segments, size.keys, size.qformer.encoder_width)
    seconds = torch.arange(size.segments)[:, None] + torch.tensor([0.0, 1.0])
    item = torch.arange(size.clips)
    return {
        name: Features(
            torch.randn(shape, generator=generator),
            torch.ones(shape[:3], dtype=torch.bool),
            seconds.expand(size.clips, -1, -1),
            item,
            torch.zeros_like(item),
        )
        for name in streams
    }


def seconds_of(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Measure the median seconds of each, in turns so that the machine's load affects all equally."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn:  # the first one warms up
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


@torch.no_grad()
def passes(size: Size, repeats: int) -> dict[str, Any]:
    """Measure five modalities in one pass, and in one pass for each over the same weights."""
    whole, given = connector(size, STREAMS), features(size, STREAMS)
    trunk = whole.trunks["qformer"]
    count = size.clips * size.segments
    keys = {name: f.values.flatten(0, 1) for name, f in given.items()}
    queries = {name: whole.ports[name].queries(count) for name in STREAMS}  # type: ignore[union-attr]
    index = {name: torch.full((count,), i) for i, name in enumerate(STREAMS)}

    def batched() -> Tensor:
        joined = [torch.cat(list(x.values())) for x in (queries, keys, index)]
        return trunk(TrunkInput(joined[0], joined[1], adapter=joined[2]))

    def apart() -> Tensor:
        return torch.cat([trunk(TrunkInput(queries[n], keys[n], adapter=index[n])) for n in STREAMS])

    torch.testing.assert_close(batched(), apart(), atol=1e-4, rtol=1e-4)
    times = seconds_of({"one_pass": batched, "pass_each": apart}, repeats)
    work = _operations(size) * count * len(STREAMS)
    bound = work / _rate()
    return {"size": size.name, **times, "ratio": times["pass_each"] / times["one_pass"], "bound_seconds": bound}


@torch.no_grad()
def answers(size: Size, repeats: int) -> dict[str, Any]:
    """Measure an answer of ten tokens from cached features, with five modalities, two and one."""
    torch.manual_seed(0)
    language = Seq2SeqConfig(config=size.language).build().eval()
    prompt = torch.randn(size.clips, 24, size.language["d_model"])

    def answer(streams: tuple[str, ...]) -> Callable[[], Tensor]:
        whole, given = connector(size, streams), features(size, streams)
        item, scene = torch.arange(size.clips), torch.zeros(size.clips, dtype=torch.long)

        def run() -> Tensor:
            blocks, _ = whole(given, item, scene)
            values = torch.cat([*(block.values.flatten(1, 2) for block in blocks.values()), prompt], 1)
            mask = torch.ones(values.shape[:2], dtype=torch.bool)
            positions = torch.arange(values.shape[1]).expand(size.clips, -1)
            return language.generate(Embeds(values, mask, positions), max_new_tokens=10, min_new_tokens=10)

        return run

    times = seconds_of({"five": answer(STREAMS), "two": answer(STREAMS[:2]), "one": answer(STREAMS[:1])}, repeats)
    return {
        "size": size.name,
        **times,
        "ratio": times["five"] / times["one"],
        "five_to_two": times["five"] / times["two"],
    }


def _operations(size: Size) -> float:
    """Count the operations (2 per multiply-add) of one row of a pass."""
    c, q, k = size.qformer, size.queries, size.keys
    attention = 4 * q * c.hidden**2 + 2 * q * q * c.hidden
    feed = 2 * q * c.hidden * c.intermediate
    cross_layers = -(-c.layers // c.cross_attention_frequency)
    cross = 2 * q * c.hidden**2 + 2 * k * c.encoder_width * c.hidden + 2 * q * k * c.hidden
    lora = 4 * q * c.hidden * size.rank
    return 2.0 * (c.layers * (attention + feed + lora) + cross_layers * cross)


def _rate() -> float:
    """Measure operations per second of one large matrix product, the best of five."""
    a = torch.randn(1024, 1024)
    best = min(_timed(lambda: a @ a) for _ in range(5))
    return 2 * 1024**3 / best


def _timed(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--paper", action="store_true", help="also measure the paper's widths (about a gigabyte, a minute)"
    )
    arguments = parser.parse_args()
    sizes = [SMALL, PAPER] if arguments.paper else [SMALL]
    report = {
        "threads": torch.get_num_threads(),
        "passes": [passes(size, arguments.repeats) for size in sizes],
        "answers": [answers(size, arguments.repeats) for size in (SMALL, EIGHTH)],
    }
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
