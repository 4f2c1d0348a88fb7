"""How long the client waits and how often it asks, on a clock that only waiting moves."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from vidweave.engines import Request, Sampling, connection, replies
from vidweave.engines.connection import Reply
from vidweave.engines.openai import MAX_WAIT_SECONDS, OpenAIEngine
from vidweave.engines.replies import Retry, read_reply

NOW = 1_700_000_000.0
OK = Reply(200, {}, json.dumps({"choices": [{"text": "done"}]}).encode())


@dataclass
class World:
    """A server that replies as told, and the seconds since the start.

    Attributes:
        script: Prompt and attempt → reply.
        starts: Prompt → seconds at which each attempt began.
        sleeps: Every pause, in order.
    """

    script: Any
    now: float = 0.0
    starts: dict[str, list[float]] = field(default_factory=dict)
    sleeps: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        end = self.now + seconds
        self.sleeps.append(seconds)
        await anyio.lowlevel.checkpoint()
        self.now = max(self.now, end)

    async def post(self, path: str, body: dict[str, Any]) -> Reply:
        attempts = self.starts.setdefault(body["prompt"], [])
        attempts.append(self.now)
        return self.script(body["prompt"], len(attempts))


@pytest.fixture
def world(monkeypatch):
    made = World(lambda prompt, attempt: OK)

    class Connection:
        def __init__(self, url, key) -> None: ...

        async def __aenter__(self):
            return made

        async def __aexit__(self, *_) -> None: ...

    monkeypatch.setattr(anyio, "sleep", made.sleep)
    monkeypatch.setattr(connection, "Connection", Connection)
    monkeypatch.setattr(replies.time, "time", lambda: NOW + made.now)
    return made


def client(world: World, factor: float = 1.0, **settings: Any) -> OpenAIEngine:
    """A client on the world's clock whose pauses vary by a fixed factor."""
    engine = OpenAIEngine(**{"model": "m", "concurrency": 1, **settings})
    throttle = engine._throttle
    for part in (throttle, throttle._requests, throttle._tokens):
        part._clock = lambda: world.now

    class Fixed:
        def uniform(self, low: float, high: float) -> float:
            assert (low, high) == (0.5, 1.5)
            return factor

    engine._random = Fixed()
    return engine


def ask(*prompts: str, max_tokens: int = 20) -> list[Request]:
    return [Request(prompt=prompt, sampling=Sampling(max_tokens=max_tokens)) for prompt in prompts]


def failing(times: int, reply: Reply):
    return lambda prompt, attempt: reply if attempt <= times else OK


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.5])
def test_pauses_double_up_to_a_minute_and_vary_by_half(world, factor) -> None:
    world.script = failing(99, Reply(500, {}, b""))
    (done,) = client(world, factor, retries=10, pause_seconds=0.25).complete(ask("a"))
    expected = [0.25, 0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    assert world.sleeps == pytest.approx([pause * factor for pause in expected])
    assert len(world.starts["a"]) == 11
    assert done.error.startswith("11 attempts failed")


def test_pauses_are_drawn_anew_each_time() -> None:
    pauses = [pause for _ in range(40) for pause in list(OpenAIEngine(model="m", retries=1)._pauses())[:1]]
    assert all(0.25 <= pause <= 0.75 for pause in pauses)
    assert len(set(pauses)) > 30
    assert min(pauses) < 0.4 < 0.6 < max(pauses)


@pytest.mark.parametrize("retries", [0, 1, 4])
def test_there_are_as_many_attempts_as_allowed_and_no_pause_after_the_last(world, retries) -> None:
    world.script = failing(99, Reply(429, {}, b""))
    engine = client(world, retries=retries)
    (done,) = engine.complete(ask("a"))
    assert (len(world.starts["a"]), len(world.sleeps)) == (retries + 1, retries)
    assert done.may_pass
    world.script = failing(retries, Reply(502, {}, b""))
    (done,) = engine.complete(ask("b"))
    assert (done.text, len(world.starts["b"])) == ("done", retries + 1)


@pytest.mark.parametrize("status", [429, 500, 503, 529])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("1.5", 1.5),
        ("0", 0.0),
        ("-3", 0.0),
        (formatdate(NOW + 13, usegmt=True), 13.0),
        (formatdate(NOW - 13, usegmt=True), 0.0),
        ("3600", MAX_WAIT_SECONDS),
        (formatdate(NOW + 7200, usegmt=True), MAX_WAIT_SECONDS),
        ("soon", 0.5),
        ("", 0.5),
    ],
)
def test_retry_after_is_kept_in_both_forms_and_bounded(world, status, value, seconds) -> None:
    world.script = failing(1, Reply(status, {"retry-after": value}, b""))
    (done,) = client(world).complete(ask("a"))
    assert done.text == "done"
    assert world.starts["a"] == pytest.approx([0.0, seconds])


@pytest.mark.parametrize(
    ("status", "passes", "is_overloaded"),
    [
        *((status, True, True) for status in (429, 503, 529)),
        *((status, True, False) for status in (408, 409, 425, 500, 502, 504)),
        *((status, False, False) for status in (300, 302, 400, 405, 413, 415, 422, 501)),
    ],
)
def test_which_statuses_are_tried_again_and_which_mean_too_much(status, passes, is_overloaded) -> None:
    with pytest.raises(Exception, match=str(status)) as raised:
        read_reply(status, {}, b"{}", is_chat=False)
    assert isinstance(raised.value, Retry) is passes
    assert getattr(raised.value, "overloaded", False) is is_overloaded


@pytest.mark.parametrize(("status", "second"), [(429, 20.0), (503, 20.0), (529, 20.0), (500, 0.0)])
def test_an_overloaded_server_gets_no_other_request_meanwhile(world, status, second) -> None:
    world.script = lambda prompt, attempt: Reply(status, {"retry-after": "20"}, b"") if prompt == "a" else OK
    engine = client(world, retries=0)
    engine._has_answered = True
    bad, good = engine.complete(ask("a", "b"))
    assert (bool(bad.error), good.text) == (True, "done")
    assert world.starts["b"] == pytest.approx([second])


def test_a_server_that_asks_for_a_day_is_asked_again_after_a_minute(world) -> None:
    world.script = failing(1, Reply(429, {"retry-after": "86400"}, b""))
    done = client(world).complete(ask("a", "b"))
    assert [c.text for c in done] == ["done"] * 2
    assert world.now <= 2 * MAX_WAIT_SECONDS


def test_requests_per_minute_are_spaced(world) -> None:
    client(world, requests_per_minute=12).complete(ask("a", "b", "c"))
    assert [world.starts[prompt] for prompt in "abc"] == [[0.0], [5.0], [10.0]]


def test_tokens_per_minute_count_what_is_read_and_what_may_be_written(world) -> None:
    prompts = ["x" * 40, "y" * 80, "z" * 4]  # 10 + 20, 20 + 20 and 1 + 20 tokens
    client(world, tokens_per_minute=600).complete(ask(*prompts, "last"))
    starts = [world.starts[prompt][0] for prompt in [*prompts, "last"]]
    assert starts == pytest.approx([0.0, 3.0, 7.0, 9.1])


def test_the_stricter_of_both_bounds_counts(world) -> None:
    client(world, requests_per_minute=12, tokens_per_minute=600).complete(ask("x" * 40, "y" * 400, "z"))
    starts = [starts[0] for starts in world.starts.values()]
    assert starts == pytest.approx([0.0, 5.0, 15.0])  # the first by requests, the second by its 120 tokens


def test_attempts_count_towards_the_bounds_like_requests(world) -> None:
    world.script = failing(2, Reply(500, {}, b""))
    client(world, requests_per_minute=6, pause_seconds=0.001).complete(ask("a"))
    assert world.starts["a"] == pytest.approx([0.0, 10.0, 20.0])


def test_what_a_client_does_if_it_is_reported_nothing() -> None:
    plain = OpenAIEngine(model="m")
    settings = plain.concurrency, plain.timeout_seconds, plain.retries, plain.pause_seconds
    assert settings == (16, 120.0, 6, 0.5)
    assert (plain.requests_per_minute, plain.tokens_per_minute, MAX_WAIT_SECONDS) == (None, None, 60.0)
