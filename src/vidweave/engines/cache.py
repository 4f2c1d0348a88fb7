"""On-disk cache of completions, keyed by engine and request, so that no request is sent twice.

The cache is a folder of JSON-lines files, one per writing process, so that workers need no lock. Each line is one
completion; an incomplete last line left by a killed process is ignored.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from vidweave.engines.protocol import Completion, Engine, Request
from vidweave.errors import PipelineError
from vidweave.storage import append_durably

__all__ = ["CachedEngine", "ResponseCache", "Usage", "request_key"]

REQUESTS_PER_CALL = 256  # the most that a kill can lose, per engine


def request_key(engine: dict[str, Any], request: Request) -> bytes:
    """Return a key that is equal for the same request to an engine with the same description."""
    asked = {"prompt": request.prompt, "sampling": vars(request.sampling), "schema": request.schema}
    data = {"engine": engine, "request": asked}
    return sha256(json.dumps(data, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")).digest()


class ResponseCache:
    """Completions of a folder. Texts stay on disk; memory holds their positions (about 250 bytes each)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._places: dict[bytes, tuple[Path, int, int]] = {}  # file, first byte, bytes
        self._inputs: dict[Path, int] = {}
        self._output: int | None = None
        self._path = folder / f"{os.getpid()}-{uuid.uuid4().hex[:12]}.jsonl"
        for path in sorted(folder.glob("*.jsonl")):
            self._index(path)

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: bytes) -> Completion | None:
        """Return the cached completion for `key`, or None."""
        if key not in self._places:
            return None
        path, offset, length = self._places[key]
        if path not in self._inputs:
            self._inputs[path] = os.open(path, os.O_RDONLY)
        return Completion(**json.loads(os.pread(self._inputs[path], length, offset))["completion"])

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def put(self, completions: Sequence[tuple[bytes, Completion]]) -> None:
        """Store completions; they are on disk when this returns.

        Raises:
            PipelineError: the file system refused; none of them is stored then.
        """
        try:
            self._append(completions)
        except OSError as error:
            raise PipelineError(
                f"cannot store completions in {self.folder}: {error.strerror}; free some space and run again, "
                "earlier completions are kept"
            ) from error

    def _append(self, completions: Sequence[tuple[bytes, Completion]]) -> None:
        if not completions:
            return
        if self._output is None:
            self._output = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        lines = [_line(key, completion) for key, completion in completions]
        size = append_durably(self._output, b"".join(lines))
        for (key, _), line in zip(completions, lines, strict=True):
            self._places[key] = self._path, size, len(line)
            size += len(line)

    def close(self) -> None:
        """Close the files."""
        for descriptor in (*self._inputs.values(), *([] if self._output is None else [self._output])):
            os.close(descriptor)
        self._inputs, self._output = {}, None

    def _index(self, path: Path) -> None:
        offset = 0
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n") and (key := _key_of(line)) is not None:
                    self._places[key] = path, offset, len(line)
                offset += len(line)


def _line(key: bytes, completion: Completion) -> bytes:
    return json.dumps({"key": key.hex(), "completion": vars(completion)}).encode() + b"\n"


def _key_of(line: bytes) -> bytes | None:
    """Return the key, or None for a damaged line: its request is sent again."""
    try:
        data = json.loads(line)
        Completion(**data["completion"])
        return bytes.fromhex(data["key"])
    except (ValueError, KeyError, TypeError):
        return None


@dataclass
class Usage:
    """Cost of texts, counted the same for new and cached completions."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    refused: int = 0
    asked: int = field(default=0, compare=False)
    """Number of requests sent to the engine in this run."""

    def add(self, completion: Completion) -> None:
        self.requests += 1
        self.refused += bool(completion.error)
        self.input_tokens += completion.input_tokens
        self.output_tokens += completion.output_tokens
        self.cost += completion.cost


class CachedEngine:
    """Engine with a cache; counts into `usage`. Failed requests are not cached.

    Args:
        requests_per_call: The engine gets at most this number of requests at once, after which its completions are stored.
    """

    def __init__(
        self, engine: Engine, cache: ResponseCache, usage: Usage, *, requests_per_call: int = REQUESTS_PER_CALL
    ) -> None:
        self.engine, self.cache, self.usage = engine, cache, usage
        self._requests_per_call = requests_per_call

    def describe(self) -> dict[str, Any]:
        return self.engine.describe()

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        name = self.engine.describe()
        keys = [request_key(name, request) for request in requests]
        missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in self.cache}
        failed = self._ask(missing)
        completions = [failed.get(key) or self.cache.get(key) for key in keys]
        for completion in completions:
            assert completion is not None, "every request is cached or has failed"
            self.usage.add(completion)
        return completions  # type: ignore[return-value]

    def _ask(self, requests: dict[bytes, Request]) -> dict[bytes, Completion]:
        """Send requests to the engine, cache successes and return failures."""
        keys, failed = list(requests), {}
        for start in range(0, len(keys), self._requests_per_call):
            chunk = keys[start : start + self._requests_per_call]
            completions = self.engine.complete([requests[key] for key in chunk])
            pairs = list(zip(chunk, completions, strict=True))
            self.cache.put([(key, completion) for key, completion in pairs if not completion.error])
            failed |= {key: completion for key, completion in pairs if completion.error}
            self.usage.asked += len(chunk)
        return failed
