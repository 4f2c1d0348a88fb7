"""A server with OpenAI's batch interface on loopback: files, batches that need some polls, results."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[dict[str, Any]], Any]


class BatchServer(ThreadingHTTPServer):
    """Answers each line of a batch by `reply(body)`: a text, or a mapping that replaces the line of the result.

    Attributes:
        polls: Polls that a batch needs.
        ends: Status with which batches end.
        lost: Number of the next requests that are answered with status 503.
    """

    daemon_threads = True

    def __init__(self, reply: Reply) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply, self.polls, self.ends, self.lost = reply, 2, "completed", 0
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.keys: set[str | None] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def lines(self) -> list[dict[str, Any]]:
        """All lines that were uploaded."""
        uploaded = (data for name, data in self.files.items() if name.startswith("in"))
        return [json.loads(line) for data in uploaded for line in data.splitlines()]

    def result(self, line: dict[str, Any]) -> dict[str, Any] | None:
        reply = self.reply(line["body"])
        if reply is None:
            return None
        if isinstance(reply, dict):
            return {"custom_id": line["custom_id"], **reply}
        body = {"choices": [{"message": {"content": reply}}], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
        return {"custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}


class _Handler(BaseHTTPRequestHandler):
    server: BatchServer

    def log_message(self, *_: object) -> None: ...

    def do_POST(self) -> None:
        server, data = self.server, self.rfile.read(int(self.headers["Content-Length"]))
        server.keys.add(self.headers.get("Authorization"))
        if self._is_lost():
            return
        if self.path == "/v1/files":
            name = f"in-{len(server.files)}"
            assert b'name="purpose"\r\n\r\nbatch' in data
            server.files[name] = re.search(rb'filename="batch.jsonl".*?\r\n\r\n(.*?)\r\n--', data, re.DOTALL)[1]  # type: ignore[index]
            self._send({"id": name})
        elif self.path == "/v1/batches":
            body = json.loads(data)
            assert body["endpoint"] == "/v1/chat/completions"
            name = f"batch-{len(server.batches)}"
            server.batches[name] = {
                "id": name,
                "status": "validating",
                "left": server.polls,
                "in": body["input_file_id"],
            }
            self._send(server.batches[name])
        else:
            self._send({"error": {"message": "no such address"}}, 404)

    def do_GET(self) -> None:
        server = self.server
        if self._is_lost():
            return
        if found := re.fullmatch(r"/v1/batches/(.+)", self.path):
            batch = server.batches[found[1]]
            batch["left"] -= 1
            if batch["left"] > 0:
                batch |= {"status": "in_progress", "request_counts": {"completed": 1}}
            elif "output_file_id" not in batch:
                batch["status"] = server.ends
                if server.ends == "failed":
                    batch["errors"] = {"data": [{"message": "the model does not exist"}]}
                else:
                    self._finish(batch)
            self._send(batch)
        elif found := re.fullmatch(r"/v1/files/(.+)/content", self.path):
            self._write(200, server.files[found[1]])

    def _finish(self, batch: dict[str, Any]) -> None:
        lines = [json.loads(line) for line in self.server.files[batch["in"]].splitlines()]
        results = [row for line in lines if (row := self.server.result(line)) is not None]
        batch["output_file_id"] = f"out-{batch['id']}"
        # In another order than the requests, as the protocol allows
        self.server.files[batch["output_file_id"]] = "".join(
            json.dumps(row) + "\n" for row in reversed(results)
        ).encode()

    def _is_lost(self) -> bool:
        self.server.calls.append(f"{self.command} {self.path}")
        if self.server.lost:
            self.server.lost -= 1
            self._send({"error": {"message": "busy"}}, 503)
            return True
        return False

    def _send(self, data: Any, status: int = 200) -> None:
        self._write(status, json.dumps(data).encode())

    def _write(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving_batches(reply: Reply) -> Iterator[BatchServer]:
    server = BatchServer(reply)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
