"""Engine for endpoints with OpenAI's protocol: vLLM, Ollama, llama.cpp, `transformers serve`, cloud services."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from vidweave.engines.protocol import Completion, Request
from vidweave.engines.replies import Refused, Retry, read_reply
from vidweave.engines.structured import complaint, in_words
from vidweave.engines.throttle import Throttle
from vidweave.errors import ConfigError, EngineError, MissingExtraError

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from vidweave.engines.connection import Connection

__all__ = ["OpenAIEngine"]

MAX_WAIT_SECONDS = 60.0
CHARACTERS_PER_TOKEN = 4  # rough estimate, used only for the limit of tokens per minute

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class OpenAIEngine:
    """Complete requests on an OpenAI-compatible server, many at once.

    A text prompt goes to `/completions` unchanged, messages go to `/chat/completions`. Temporary failures (429, 5xx,
    timeouts, lost connections, replies that are not completions, JSON that violates its schema) are retried with growing
    pauses; a permanent failure becomes a completion with an `error`, so that one bad request does not lose the others.
    Only one call of `complete` may run at a time; the concurrency that the server tolerates is remembered between calls.

    Args:
        model: Name of the model on the server.
        base_url: Address up to and including `/v1`.
        key_variable: Environment variable with the API key, read at each use; without it no key is sent.
        dialect: `vllm` also accepts a minimum number of tokens, which OpenAI's own servers reject.
        length_field: Name of the field for the maximum of new tokens; newer OpenAI models only accept the second name.
        concurrency: Maximum number of requests in flight; reduced when the server is overloaded.
        requests_per_minute, tokens_per_minute: Rate limits; tokens are estimated from the length of the texts.
        timeout_seconds: Time limit of one attempt.
        retries: Number of further attempts after the first.
        pause_seconds: Pause before the second attempt; doubled each time up to a minute, with 50% jitter.
        input_price, output_price: Price per million tokens, for `Completion.cost`.
        body: Additional fields of every request (`top_k`, `reasoning_effort`, …).
    """

    model: str
    base_url: str = "http://127.0.0.1:8000/v1"
    key_variable: str = "OPENAI_API_KEY"
    dialect: Literal["openai", "vllm"] = "openai"
    length_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    concurrency: int = 16
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    timeout_seconds: float = 120.0
    retries: int = 6
    pause_seconds: float = 0.5
    input_price: float = 0.0
    output_price: float = 0.0
    body: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        url = urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ConfigError(
                f"base_url must be an http(s) address such as http://127.0.0.1:8000/v1, got {self.base_url!r}"
            )
        if url.username or url.password:
            raise ConfigError(
                f"base_url must not contain a key; put it into the environment variable {self.key_variable}"
            )
        if self.concurrency < 1 or self.retries < 0 or self.timeout_seconds <= 0:
            raise ConfigError("concurrency must be at least 1, retries at least 0 and timeout_seconds above 0")
        self._throttle = Throttle(self.concurrency, self.requests_per_minute, self.tokens_per_minute)
        self._random = random.Random()  # own generator: pauses must not affect other seeds
        self._enforces_schemas = True
        self._has_answered = False

    def describe(self) -> dict[str, Any]:
        facts = {"engine": "openai", "model": self.model, "base_url": self.base_url, "dialect": self.dialect}
        return {**facts, "body": dict(self.body)} if self.body else facts

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Return one completion per request, in order.

        Raises:
            EngineError: a wrong key, model or address, or the server was never reached.
            MissingExtraError: httpx is not installed.
        """
        try:
            import httpx  # noqa: F401
            from anyio.from_thread import start_blocking_portal
        except ImportError:
            raise MissingExtraError("httpx", "eval", "a language model behind an endpoint") from None
        # A separate event loop in its own thread, since one may already be running, as in a notebook
        with start_blocking_portal() as portal:
            return portal.call(self._complete, list(requests))

    async def _complete(self, requests: list[Request]) -> list[Completion]:
        import anyio

        from vidweave.engines.connection import Connection

        done: dict[int, Completion] = {}
        fatal: list[EngineError] = []
        key = os.environ.get(self.key_variable)
        todo = iter(enumerate(requests))
        workers = min(self.concurrency, len(requests))

        async def work(group: TaskGroup) -> None:
            async with Connection(self.base_url, key) as server:
                for index, request in todo:
                    try:
                        done[index] = await self._one(server, request)
                    except EngineError as error:
                        fatal.append(error)
                        group.cancel_scope.cancel()

        with self._throttle.open():
            async with anyio.create_task_group() as group:
                for _ in range(workers):
                    group.start_soon(work, group)
        if fatal:
            raise fatal[0]
        return [done[index] for index in range(len(requests))]

    async def _one(self, server: Connection, request: Request) -> Completion:
        """Return the completion of one request after as many attempts as needed and allowed."""
        import anyio

        reason = ""
        for pause in self._pauses():
            try:
                return await self._attempt(server, request)
            except Refused as error:
                return Completion(text="", error=str(error))
            except Retry as error:
                reason = str(error)
                wait = pause if error.seconds is None else min(error.seconds, MAX_WAIT_SECONDS)
            if pause is not None:
                await anyio.sleep(wait or 0.0)
        if not self._has_answered:
            raise EngineError(f"{self.base_url} never answered; the last of {self.retries + 1} attempts: {reason}")
        return Completion(text="", error=f"{self.retries + 1} attempts failed; the last: {reason}", may_pass=True)

    def _pauses(self) -> Iterator[float | None]:
        """Yield seconds to wait after each attempt; None after the last."""
        for attempt in range(self.retries):
            yield min(self.pause_seconds * 2**attempt, MAX_WAIT_SECONDS) * self._random.uniform(0.5, 1.5)
        yield None

    async def _attempt(self, server: Connection, request: Request) -> Completion:
        import anyio

        from vidweave.engines.connection import Lost

        path, body = self.body_of(request)
        async with self._throttle.turn(_size(request)) as started:
            try:
                with anyio.fail_after(self.timeout_seconds):
                    reply = await server.post(path, body)
            except (Lost, TimeoutError) as error:
                raise Retry(f"{type(error).__name__}: {error}".rstrip(": ")) from None
            self._has_answered = True
            if reply.status in (400, 422) and "response_format" in body and b"response_format" in reply.body:
                self._do_without_schemas()
                raise Retry("the server cannot enforce a schema", seconds=0.0)
            try:
                completion = read_reply(reply.status, reply.headers, reply.body, is_chat="messages" in body)
            except Retry as error:
                if error.overloaded:
                    self._throttle.refused(started, min(error.seconds or 0.0, MAX_WAIT_SECONDS))
                raise
            self._throttle.served()
        if request.schema is not None and (wrong := complaint(completion.text, request.schema)):
            raise Retry(f"the text violates its schema: {wrong}")
        price = completion.input_tokens * self.input_price + completion.output_tokens * self.output_price
        return replace(completion, cost=price / 1e6)

    def _do_without_schemas(self) -> None:
        if self._enforces_schemas:
            _log.warning("%s does not enforce JSON schemas; the model is asked for one in the prompt", self.base_url)
        self._enforces_schemas = False

    def body_of(self, request: Request) -> tuple[str, dict[str, Any]]:
        """Return path and JSON body of a request."""
        sampling = request.sampling
        body: dict[str, Any] = {"model": self.model, "temperature": sampling.temperature, "top_p": sampling.top_p}
        body |= {"seed": sampling.seed, self.length_field: sampling.max_tokens}
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.min_tokens and self.dialect == "vllm":
            body["min_tokens"] = sampling.min_tokens
        asked = ""
        if request.schema is not None and self._enforces_schemas:
            form = {"name": "answer", "schema": dict(request.schema), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        elif request.schema is not None:
            asked = in_words(request.schema)
        if isinstance(request.prompt, str):
            return "completions", {
                **body,
                "prompt": f"{request.prompt}\n{asked}" if asked else request.prompt,
                **self.body,
            }
        system = [{"role": "system", "content": asked}] if asked else []
        return "chat/completions", {**body, "messages": [*system, *map(dict, request.prompt)], **self.body}


def _size(request: Request) -> float:
    """Estimate the number of tokens of a request; non-text parts do not count."""
    texts = [request.prompt] if isinstance(request.prompt, str) else [m.get("content", "") for m in request.prompt]
    characters = sum(len(text) for text in texts if isinstance(text, str))
    return characters / CHARACTERS_PER_TOKEN + request.sampling.max_tokens
