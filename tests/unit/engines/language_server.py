"""A language model behind HTTP on loopback that answers as a script says, and misbehaves where the script wants it."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Script = Callable[[dict[str, Any], int], Any]


class LanguageServer(ThreadingHTTPServer):
    """`script(body, attempt)` says what to do with a request: see `_Handler._do`."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.keys: list[str | None] = []
        self.attempts: Counter[str] = Counter()
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, *_: object) -> None:
        """Clients that left are no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LanguageServer

    def log_message(self, *_: object) -> None: ...

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.asked.append(body)
            server.paths.append(self.path)
            server.keys.append(self.headers.get("Authorization"))
            server.attempts[words(body)] += 1
            attempt = server.attempts[words(body)]
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
        try:
            self._do(server.script(body, attempt), "messages" in body)
        finally:
            with server.lock:
                server.in_flight -= 1

    def _do(self, what: Any, is_chat: bool) -> None:
        """A text is completed; an int is a status; bytes are the raw body; ("sleep", s), ("hang up",), (status, headers, body)."""
        if isinstance(what, str):
            choice = {"message": {"content": what}} if is_chat else {"text": what}
            usage = {"prompt_tokens": 7, "completion_tokens": 3}
            self._send(200, {}, json.dumps({"choices": [choice], "usage": usage}).encode())
        elif isinstance(what, int):
            self._send(what, {}, json.dumps({"error": {"message": f"status {what}\nfor you"}}).encode())
        elif isinstance(what, bytes):
            self._send(200, {}, what)
        elif what[0] == "sleep":
            time.sleep(what[1])
            self._do("late", is_chat)
        elif what[0] == "hang up":
            self.close_connection = True
            self.connection.close()
        else:
            self._send(*what)

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def words(body: dict[str, Any]) -> str:
    """The prompt, or the last message."""
    return body["prompt"] if "prompt" in body else str(body["messages"][-1]["content"])


@contextmanager
def serving(script: Script) -> Iterator[LanguageServer]:
    server = LanguageServer(script)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
