"""Mock OpenAI-compatible server with a fixed latency: ``python -m benchmarks.mock_endpoint``; prints its address.

It does as little work per request as HTTP allows, so that the client is measured. The latency counts from the arrival of a
request, corrected for late wake-ups of the machine. It supports only the HTTP that the client of `vidweave.engines` sends;
loopback only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import time

REPLY = json.dumps(
    {
        "choices": [{"message": {"content": "Scene B."}, "text": "Scene B."}],
        "usage": {"prompt_tokens": 40, "completion_tokens": 4},
    }
).encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(REPLY), REPLY)
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


async def oversleep(seconds: float, times: int = 15) -> float:
    """Measure how much longer than requested a sleep takes, in seconds (median)."""
    late = []
    for _ in range(times):
        start = time.perf_counter()
        await asyncio.sleep(seconds)
        late.append(time.perf_counter() - start - seconds)
    return max(0.0, statistics.median(late))


async def serve(seconds: float) -> None:
    """Answer every request after `seconds`, until the process ends."""
    late = await oversleep(seconds)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                arrived = time.perf_counter()
                match = LENGTH.search(head)
                await reader.readexactly(int(match[1]) if match else 0)
                await asyncio.sleep(max(0.0, arrived + seconds - late - time.perf_counter()))
                writer.write(ANSWER)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--milliseconds", type=float, default=50.0)
    asyncio.run(serve(parser.parse_args().milliseconds / 1000))
