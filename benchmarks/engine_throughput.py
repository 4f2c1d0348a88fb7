"""Requests per second through the endpoint client: ``python -m benchmarks.engine_throughput [--json FILE]``.

A mock server in a separate process answers after 50 ms (a bare socket is measured for comparison). The bound of n requests in
flight is n / 50 ms; a share of it is lost to the client's work per request. For comparison, with the same limit: a plain loop
of httpx without retries, limits or adaptation, in the same run. Prints JSON with `criteria` like the claims; exit 1 if one fails.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from vidweave.engines import Request, Sampling
from vidweave.engines.openai import OpenAIEngine

LEAST_SHARE = 0.9
SECONDS = 0.05
LIMITS = (1, 4, 8, 16, 32)
JUDGED = 8


@contextmanager
def mock_endpoint() -> Iterator[str]:
    """Yield the address of a server that runs inside the block."""
    command = [sys.executable, "-m", "benchmarks.mock_endpoint", "--milliseconds", str(SECONDS * 1000)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def measured_latency(url: str, times: int = 40) -> float:
    """Measure seconds from a request to its answer through a bare socket, one after the other (median)."""
    host, port = url.removeprefix("http://").removesuffix("/v1").split(":")
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: mock\r\nContent-Length: 2\r\n\r\n{}"
    seconds = []
    with socket.create_connection((host, int(port))) as connection:
        for _ in range(times):
            start = time.perf_counter()
            connection.sendall(request)
            answer = b""
            while b"Scene B" not in answer:
                answer += connection.recv(4096)
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def client_rate(url: str, limit: int, count: int) -> float:
    """Measure requests per second of our client, connections included."""
    engine = OpenAIEngine(model="mock", base_url=url, concurrency=limit)
    message = ({"role": "user", "content": "Which scene is louder? Choices: Scene A, Scene B. Answer:"},)
    requests = [Request(prompt=message, sampling=Sampling(max_tokens=8))] * count
    engine.complete(requests[:limit])  # imports
    start = time.perf_counter()
    done = engine.complete(requests)
    seconds = time.perf_counter() - start
    assert all(completion.text == "Scene B." for completion in done)
    return count / seconds


def plain_rate(url: str, limit: int, count: int) -> float:
    """Measure requests per second of bare httpx with the same number in flight."""
    body = {"model": "mock", "messages": [{"role": "user", "content": "Which scene is louder?"}]}

    async def work(client: httpx.AsyncClient, left: list[int]) -> None:
        while left:
            left.pop()
            (await client.post("chat/completions", json=body)).json()

    async def run() -> float:
        left = [0] * count
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            start = time.perf_counter()
            await asyncio.gather(*(work(client, left) for _ in range(limit)))
            return count / (time.perf_counter() - start)

    return asyncio.run(run())


def measure(url: str, limit: int, seconds: float) -> dict[str, float]:
    """Measure rates side by side, and shares of the ideal rate; about `seconds` for each."""
    ideal = limit / SECONDS
    count = limit * max(1, round(ideal * seconds / limit))
    ours, plain = client_rate(url, limit, count), plain_rate(url, limit, count)
    rates = {"ideal": ideal, "requests_per_second": ours, "plain_httpx": plain}
    return {k: round(v, 1) for k, v in rates.items()} | {
        "share_of_ideal": round(ours / ideal, 4),
        "share_of_plain": round(ours / plain, 4),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="duration of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds; the best counts")
    parser.add_argument(
        "--in-flight", type=int, nargs="+", default=LIMITS, help=f"limits to measure; {JUDGED} is judged"
    )
    parser.add_argument("--json", type=Path, help="write the result here as well")
    arguments = parser.parse_args()
    with mock_endpoint() as url:
        latency = measured_latency(url)
        rows = {
            str(limit): max(
                (measure(url, limit, arguments.seconds) for _ in range(arguments.rounds)),
                key=lambda row: row["share_of_ideal"],
            )
            for limit in sorted({*arguments.in_flight, JUDGED})
        }
    value = rows[str(JUDGED)]["share_of_ideal"]
    criterion = {
        "name": f"share of the ideal rate with {JUDGED} requests in flight and {SECONDS * 1000:g} ms of latency",
        "value": value,
        "threshold": LEAST_SHARE,
        "ok": value >= LEAST_SHARE,
    }
    machine = f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f}"
    latencies = {"latency_seconds": SECONDS, "measured_latency_seconds": round(latency, 5)}
    result = {"machine": machine, **latencies, "in_flight": rows, "criteria": [criterion]}
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 0 if criterion["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
