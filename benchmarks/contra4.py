"""Benchmark of Contra4's sampling, filters and balance: ``python -m benchmarks.contra4 [--json FILE]``.

Sampling of similar scenes is quadratic in its straightforward form: for each record, compare the anchor with a whole pool and
sort. That form is timed on some records of the same pools in the same run. Prints JSON with `criteria` like the claims;
exit 1 if one fails.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vidweave.contra4.balance import balance_rows
from vidweave.contra4.embedding import TfIdfEmbedder
from vidweave.contra4.filters import Filters
from vidweave.contra4.neighbours import nearest
from vidweave.contra4.rows import Row, orders
from vidweave.contra4.sampling import NEAREST, PUBLISHED_ORDER, sample_tuples

COMBINATIONS = 11
SHARD = 500
VERIFIERS = ("llama", "mistral", "phi")
LEAST_GAIN = 10.0


def captions(count: int, rng: np.random.Generator) -> list[str]:
    """Generate sentences of ten words with a realistic word distribution."""
    words = np.minimum(rng.zipf(1.3, (count, 10)), 5_000)
    return [" ".join(f"w{word}" for word in sentence) for sentence in words]


def make_pools(size: int) -> tuple[dict[str, list[Row]], dict[str, np.ndarray], float]:
    """Generate four pools of `size` media with their embeddings, and the seconds of the embedding."""
    texts = captions(4 * size, np.random.default_rng(0))
    start = time.perf_counter()
    values = np.split(TfIdfEmbedder().embed(texts), 4)
    seconds = time.perf_counter() - start
    pools = {
        name: [{"source": name, "id": i, "caption": [texts[m * size + i]], "meta": {}} for i in range(size)]
        for m, name in enumerate(PUBLISHED_ORDER)
    }
    return pools, dict(zip(PUBLISHED_ORDER, values, strict=True)), seconds


def straightforward(embeddings: dict[str, np.ndarray], count: int) -> float:
    """Measure seconds per record of the published script's form: a product with the whole pool, sorted, for each record."""
    rng = random.Random(1)
    combinations = [(a, o) for i, a in enumerate(PUBLISHED_ORDER) for o in [PUBLISHED_ORDER[i + 1 :]] if o]
    start = time.perf_counter()
    for _ in range(count):
        anchor, others = rng.choice(combinations)
        query = embeddings[anchor][rng.randrange(len(embeddings[anchor]))]
        for name in rng.sample(others, rng.choice(range(1, len(others) + 1))):
            near = np.argsort(-(embeddings[name] @ query))[:NEAREST]
            rng.choice(near)
    return (time.perf_counter() - start) / count


def verified(count: int) -> Iterator[list[Row]]:
    """Generate shards of verified rows; four in ten have a verifier with an error."""
    rng = random.Random(2)
    for start in range(0, count, SHARD):
        yield [_verified(number, rng) for number in range(start, min(start + SHARD, count))]


def _verified(number: int, rng: random.Random) -> Row:
    scenes = rng.choice((2, 3, 4))
    answer = rng.randrange(scenes)
    verdicts = {v: [f"Scene {'ABCD'[order.index(answer)]}" for order in orders(scenes)] for v in VERIFIERS}
    if rng.random() < 0.4:
        wrong = verdicts[rng.choice(VERIFIERS)]
        wrong[rng.randrange(len(wrong))] = "neither"
    selection = rng.choice(("random", "similarity"))
    return {
        "id": f"{selection}_{number}",
        "selection_type": selection,
        "q_type": f"mc_{scenes}",
        "examples": [{"source": "s", "id": i, "caption": f"caption {number} {i}"} for i in range(scenes)],
        "modalities": list(PUBLISHED_ORDER[:scenes]),
        "questions": [f"Which scene is calmer than number {number}?"],
        "answers": [f"Scene {'ABCD'[answer]}. It is."],
        **{f"answer_{name}": texts for name, texts in verdicts.items()},
    }


def peak_bytes() -> int:
    """Peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(records: int, size: int, plain: int, base: int) -> dict[str, Any]:
    """Measure all results."""
    results: dict[str, Any] = {"records": records, "media_per_modality": size}
    results["neighbors"] = neighbors(base)  # first, before the process grows
    pools, embeddings, results["embedding_seconds"] = make_pools(size)
    for selection in ("random", "similarity"):
        start = time.perf_counter()
        done = sum(1 for _ in sample_tuples(pools, selection, -(-records // COMBINATIONS), embeddings=embeddings))
        results[f"sampling_{selection}"] = _rate(done, time.perf_counter() - start)
    results["straightforward_seconds_per_record"] = straightforward(embeddings, plain)
    results["gain"] = (
        results["straightforward_seconds_per_record"] * results["sampling_similarity"]["records_per_second"]
    )
    # Cost of the products alone: six pairs of pools, two operations per value
    start = time.perf_counter()
    for i in range(0, 4 * 256, 256):
        embeddings["audio"][i : i + 256] @ embeddings["pc"].T
    products = 6 * size / 1024 * (time.perf_counter() - start)
    results["products_alone_seconds"] = products
    stage, kept, seconds = Filters(verifiers=VERIFIERS), [], 0.0
    for shard in verified(records):
        start = time.perf_counter()
        kept += stage.run(shard)
        seconds += time.perf_counter() - start
    results["filters"] = _rate(records, seconds)
    start = time.perf_counter()
    balanced = balance_rows(kept)
    results["balance"] = _rate(len(balanced), time.perf_counter() - start)
    results["peak_bytes"] = peak_bytes()
    return results


def neighbors(base: int) -> dict[str, float]:
    """Measure the memory of a search among `base` captions, and that of all pairs."""
    values = np.random.default_rng(3).standard_normal((base, 64), np.float32)
    before = peak_bytes()
    start = time.perf_counter()
    nearest(values[:1024], values, NEAREST)
    seconds = time.perf_counter() - start
    return {
        "base": base,
        "seconds_per_thousand_queries": seconds / 1.024,
        "grown_bytes": max(0, peak_bytes() - before),
        "all_pairs_bytes": 4 * base * base,
    }


def _rate(count: int, seconds: float) -> dict[str, float]:
    return {"records": count, "seconds": seconds, "records_per_second": count / seconds}


def judge(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Evaluate the criteria of a run."""
    near = results["neighbors"]
    share = near["grown_bytes"] / near["all_pairs_bytes"]
    return [
        {
            "name": "gain over the straightforward form",
            "value": results["gain"],
            "threshold": LEAST_GAIN,
            "ok": results["gain"] >= LEAST_GAIN,
        },
        {"name": "memory of a search, share of all pairs", "value": share, "threshold": 0.01, "ok": share <= 0.01},
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--media", type=int, default=5_000, help="per modality")
    parser.add_argument("--plain", type=int, default=300, help="records of the straightforward form")
    parser.add_argument("--base", type=int, default=100_000, help="captions of the search whose memory is measured")
    parser.add_argument("--json", type=Path, help="write the result here as well")
    arguments = parser.parse_args()
    results = measure(arguments.records, arguments.media, arguments.plain, arguments.base)
    criteria = judge(results)
    machine = platform.processor() or platform.machine()
    text = json.dumps({"machine": machine, **results, "criteria": criteria}, indent=1)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    print(text)
    return 0 if all(criterion["ok"] for criterion in criteria) else 1


if __name__ == "__main__":
    sys.exit(main())
