"""Engine for the batch interface of OpenAI's protocol: one file of requests, answered within a day at a lower price."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidweave.engines.cache import request_key
from vidweave.engines.openai import OpenAIEngine
from vidweave.engines.protocol import Completion, Request
from vidweave.engines.replies import Refused, Retry, read_reply
from vidweave.errors import ConfigError, EngineError, MissingExtraError
from vidweave.storage import write_atomically

if TYPE_CHECKING:
    import httpx

__all__ = ["BatchProgress", "OpenAIBatchEngine"]

MAX_REQUESTS = 50_000  # of a batch, by OpenAI's rules, as is the size of its file
MAX_BYTES = 190_000_000
_PATH = "chat/completions"
_RUNNING = {"validating", "in_progress", "finalizing", "cancelling"}
_TRIES = 6

BatchProgress = Callable[[int, int], object]
"""Called after each poll with the number of finished requests and of all requests."""


@dataclass(kw_only=True)
class OpenAIBatchEngine:
    """Complete chat requests as batches: upload the requests as a file, create the batch, poll it, download the results.

    The ids of the batches are in the file `state`: a process that was stopped while it waited goes on with the same batches when
    the same requests are asked again. Results are the same data as those of `OpenAIEngine`, with which a cache can be shared.

    Args:
        engine: Model, address and key.
        state: JSON file with the batches that were submitted and not yet used.
        poll_seconds: Pause between polls.
        window: Time that the server may take, in its own words.
        progress: See `BatchProgress`.
    """

    engine: OpenAIEngine
    state: Path
    poll_seconds: float = 30.0
    window: str = "24h"
    progress: BatchProgress = lambda done, total: None
    sleep: Callable[[float], object] = time.sleep

    def describe(self) -> dict[str, Any]:
        return self.engine.describe()

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Return one completion per request, in order; waits until all batches are finished.

        Raises:
            ConfigError: A request that is no chat.
            EngineError: The server cannot be reached, refuses a batch, or its key or address are wrong. Run again to go on with
                the batches that were submitted.
            MissingExtraError: httpx is not installed.
        """
        if any(isinstance(request.prompt, str) for request in requests):
            raise ConfigError("a batch takes chat messages; a request is a text")
        asked = {self._id(request): request for request in requests}
        batches = [batch for batch in self._read_state() if set(batch["ids"]) & set(asked)]
        with self._client() as client:
            known = {name for batch in batches for name in batch["ids"]}
            for ids in _chunks({name: self._line(name, r) for name, r in asked.items() if name not in known}):
                batches.append(self._submit(client, ids))
                self._write_state(batches)
            replies = self._wait(client, batches)
        self._write_state([batch for batch in batches if set(batch["ids"]) <= set(replies)])
        missing = Completion(
            text="", error="the batch ended without a reply; run again to ask once more", may_pass=True
        )
        return [replies.get(self._id(request), missing) for request in requests]

    # -- steps

    def _submit(self, client: httpx.Client, lines: Mapping[str, bytes]) -> dict[str, Any]:
        content = b"".join(lines.values())
        uploaded = self._call(
            client, "POST", "files", files={"file": ("batch.jsonl", content)}, data={"purpose": "batch"}
        )
        body = {"input_file_id": uploaded["id"], "endpoint": f"/v1/{_PATH}", "completion_window": self.window}
        return {"id": self._call(client, "POST", "batches", json=body)["id"], "ids": list(lines)}

    def _wait(self, client: httpx.Client, batches: Sequence[Mapping[str, Any]]) -> dict[str, Completion]:
        """Poll until no batch is running, and return the replies by id."""
        total, replies = sum(len(batch["ids"]) for batch in batches), {}
        running, finished = list(batches), 0
        while running:
            done = finished
            for batch in list(running):
                state = self._call(client, "GET", f"batches/{batch['id']}")
                if state.get("status") in _RUNNING:
                    done += int((state.get("request_counts") or {}).get("completed", 0))
                    continue
                replies |= self._results(client, batch["id"], state)
                running.remove(batch)
                finished += len(batch["ids"])
                done += len(batch["ids"])
            self.progress(done, total)
            if running:
                self.sleep(self.poll_seconds)
        return replies

    def _results(self, client: httpx.Client, name: str, state: Mapping[str, Any]) -> dict[str, Completion]:
        if state.get("status") == "failed":
            self._write_state([batch for batch in self._read_state() if batch["id"] != name])
            errors = (state.get("errors") or {}).get("data") or [{}]
            raise EngineError(f"the server refuses the batch {name}: {errors[0].get('message', 'no reason given')}")
        replies: dict[str, Completion] = {}
        for kind in ("output_file_id", "error_file_id"):
            if state.get(kind):
                text = self._get_text(client, f"files/{state[kind]}/content")
                replies |= dict(_read_result(line) for line in text.splitlines() if line.strip())
        return {name: completion for name, completion in replies.items() if not completion.may_pass}

    # -- state

    def _read_state(self) -> list[dict[str, Any]]:
        if not self.state.exists():
            return []
        try:
            data = json.loads(self.state.read_text(encoding="utf-8"))
            batches = [{"id": str(batch["id"]), "ids": list(batch["ids"])} for batch in data["batches"]]
        except (ValueError, KeyError, TypeError) as error:
            raise EngineError(
                f"{self.state} is not a file of submitted batches; delete it to submit them again"
            ) from error
        return batches if data.get("engine") == self.describe() else []

    def _write_state(self, batches: Sequence[Mapping[str, Any]]) -> None:
        data = {"engine": self.describe(), "batches": list(batches)}
        self.state.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.state, json.dumps(data, indent=1).encode())

    def _id(self, request: Request) -> str:
        return request_key(self.describe(), request).hex()[:40]

    def _line(self, name: str, request: Request) -> bytes:
        path, body = self.engine.body_of(request)
        return json.dumps({"custom_id": name, "method": "POST", "url": f"/v1/{path}", "body": body}).encode() + b"\n"

    # -- HTTP

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        try:
            import httpx
        except ImportError:
            raise MissingExtraError("httpx", "eval", "a language model behind an endpoint") from None
        key = os.environ.get(self.engine.key_variable)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with httpx.Client(headers=headers, timeout=self.engine.timeout_seconds) as client:
            yield client

    def _call(self, client: httpx.Client, method: str, path: str, **content: Any) -> dict[str, Any]:
        text = self._get_text(client, path, method, **content)
        try:
            data = json.loads(text)
        except ValueError:
            data = None
        if not isinstance(data, dict) or not (data.get("id") or data.get("status")):
            raise EngineError(
                f"{self.engine.base_url}/{path} answers {text[:100]!r}; the endpoint seems to have no batch interface, leave "
                "out --judge-batch"
            )
        return data

    def _get_text(self, client: httpx.Client, path: str, method: str = "GET", **content: Any) -> str:
        import httpx

        url, reason = f"{self.engine.base_url.rstrip('/')}/{path}", ""
        for attempt in range(_TRIES):
            if attempt:
                self.sleep(min(self.engine.pause_seconds * 2**attempt, 60.0))
            try:
                reply = client.request(method, url, **content)
            except httpx.TransportError as error:
                reason = f"{type(error).__name__}: {error}"
                continue
            if reply.status_code == 429 or reply.status_code >= 500:
                reason = f"{reply.status_code}: {reply.text[:100]}"
                continue
            if reply.status_code >= 300:
                raise EngineError(
                    f"{url} answers {reply.status_code}: {reply.text[:200]}"
                    + ("; the endpoint seems to have no batch interface" if reply.status_code in (404, 405) else "")
                )
            return reply.text
        raise EngineError(
            f"{url} cannot be reached ({reason}); run the same command again, which goes on with "
            "the batches that were submitted"
        )


def _chunks(lines: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    """Split lines into files that a server takes."""
    chunk: dict[str, bytes] = {}
    size = 0
    for name, line in lines.items():
        if chunk and (len(chunk) >= MAX_REQUESTS or size + len(line) > MAX_BYTES):
            yield chunk
            chunk, size = {}, 0
        chunk[name], size = line, size + len(line)
    if chunk:
        yield chunk


def _read_result(line: str) -> tuple[str, Completion]:
    """Read a line of a result file: the id of the request and its completion."""
    try:
        row = json.loads(line)
        name, response = str(row["custom_id"]), row.get("response") or {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"a result of the batch cannot be read: {line[:100]!r}") from error
    if not response:
        error = row.get("error") or {}
        reason = str(error.get("message", error)) if isinstance(error, Mapping) else str(error)
        return name, Completion(text="", error=reason or "no response", may_pass=True)
    try:
        status = int(response.get("status_code", 200))
        return name, read_reply(status, {}, json.dumps(response.get("body")).encode(), is_chat=True)
    except Refused as error:
        return name, Completion(text="", error=str(error))
    except Retry as error:
        return name, Completion(text="", error=str(error), may_pass=True)
