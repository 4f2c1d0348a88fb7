"""An OpenAI-compatible client against a server that misbehaves on purpose."""

from __future__ import annotations

import json
import logging
import pickle
import socket
import sys
from email.utils import formatdate

import pytest

from tests.unit.engines.language_server import serving, words
from vidweave.engines import Request, Sampling
from vidweave.engines.openai import OpenAIEngine
from vidweave.errors import ConfigError, EngineError, MissingExtraError

GREEDY = Sampling(max_tokens=13)
SCHEMA = {"type": "object", "properties": {"scene": {"enum": ["A", "B"]}}, "required": ["scene"]}


def requests(*prompts, **arguments) -> list[Request]:
    return [Request(prompt=prompt, sampling=GREEDY, **arguments) for prompt in prompts]


def engine(server, **arguments) -> OpenAIEngine:
    return OpenAIEngine(model="m", base_url=server.url, **{"pause_seconds": 0.001, "retries": 3, **arguments})


def echo(body, attempt):
    return words(body).upper()


def test_texts_come_in_the_order_of_the_requests() -> None:
    prompts = [f"prompt {i}" for i in range(23)]
    with serving(echo) as server:
        done = engine(server, concurrency=5, input_price=2.0, output_price=10.0).complete(requests(*prompts))
    assert [c.text for c in done] == [p.upper() for p in prompts]
    assert {(c.input_tokens, c.output_tokens, c.error) for c in done} == {(7, 3, "")}
    assert done[0].cost == pytest.approx((7 * 2 + 3 * 10) / 1e6)
    assert set(server.paths) == {"/v1/completions"}


def test_as_many_requests_are_in_flight_as_may_be() -> None:
    with serving(lambda body, attempt: ("sleep", 0.03)) as server:
        engine(server, concurrency=5).complete(requests(*map(str, range(20))))
    assert server.most_in_flight == 5


def test_a_text_is_continued_and_messages_are_chatted() -> None:
    options = Sampling(temperature=0.7, top_p=0.9, max_tokens=30, min_tokens=10, seed=5, stop=("\n",))
    chat = Request(prompt=({"role": "user", "content": "hello"},), sampling=options)
    with serving(echo) as server:
        (spoken,) = engine(server, body={"top_k": 4}).complete([chat])
        engine(server, dialect="vllm", length_field="max_completion_tokens").complete([chat])
    assert spoken.text == "HELLO"
    assert server.paths == ["/v1/chat/completions"] * 2
    first, second = server.asked
    info = {"model": "m", "temperature": 0.7, "top_p": 0.9, "seed": 5, "stop": ["\n"], "max_tokens": 30, "top_k": 4}
    assert first == {**info, "messages": [{"role": "user", "content": "hello"}]}
    assert (second["min_tokens"], second["max_completion_tokens"]) == (10, 30)


def test_nothing_asked_is_nothing_done() -> None:
    assert OpenAIEngine(model="m").complete([]) == []


@pytest.mark.parametrize(
    "trouble",
    [
        429,
        500,
        503,
        (429, {"Retry-After": "0.01"}, b"slow down"),
        (503, {"Retry-After": formatdate(1_000_000_000, usegmt=True)}, b"later"),
        ("hang up",),
        b"",
        b'{"choices": [{"te',
        b'{"choices": []}',
        b'{"choices": [{"text": null}]}',
        b'{"unheard": "of"}',
        b"[1, 2]",
        b"[" * 100_000,
    ],
    ids=str,
)
def test_what_passes_is_tried_again(trouble) -> None:
    with serving(lambda body, attempt: trouble if attempt < 3 else "at last") as server:
        done = engine(server).complete(requests("one", "two", "three"))
    assert [(c.text, c.error) for c in done] == [("at last", "")] * 3
    assert set(server.attempts.values()) == {3}


def test_a_reply_that_takes_too_long_is_asked_for_again() -> None:
    with serving(lambda body, attempt: ("sleep", 0.6) if attempt == 1 else "soon") as server:
        (done,) = engine(server, timeout_seconds=0.2).complete(requests("one"))
    assert done.text == "soon"


def test_a_request_that_never_succeeds_costs_no_other() -> None:
    with serving(lambda body, attempt: 500 if words(body) == "bad" else "good") as server:
        done = engine(server).complete(requests("a", "bad", "b"))
    assert [c.text for c in done] == ["good", "", "good"]
    assert done[1].error == "4 attempts failed; the last: 500: status 500 for you"
    assert [c.may_pass for c in done] == [False, True, False]
    assert server.attempts["bad"] == 4


def test_a_request_that_is_refused_is_asked_once() -> None:
    refusal = json.dumps({"choices": [{"message": {"content": None, "refusal": "no"}}]}).encode()
    chat = Request(prompt=({"role": "user", "content": "hello"},), sampling=GREEDY)
    with serving(lambda body, attempt: 400 if "prompt" in body else refusal) as server:
        long, refused = engine(server).complete([*requests("far too long"), chat])
    assert long.error == "400: status 400 for you"
    assert not long.may_pass
    assert refused.error == "the model refuses: no"
    assert set(server.attempts.values()) == {1}


@pytest.mark.parametrize(
    ("status", "why"), [(401, "no key, or a wrong one"), (404, "no such model or address"), (403, "may not do this")]
)
def test_what_is_hopeless_stops_the_run(status, why) -> None:
    with serving(lambda body, attempt: status) as server, pytest.raises(EngineError, match=f"{status}.*{why}"):
        engine(server, concurrency=2).complete(requests(*"abcdefghij"))
    assert len(server.asked) <= 4


def test_no_server_at_all_stops_the_run() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    lost = OpenAIEngine(model="m", base_url=url, retries=1, pause_seconds=0.001)
    with pytest.raises(EngineError, match=r"never answered; the last of 2 attempts: ConnectError"):
        lost.complete(requests("a"))


def test_an_overloaded_server_gets_fewer_requests_at_once() -> None:
    patient = {"limit": 3}

    def script(body, attempt):
        return 429 if server.in_flight > patient["limit"] else ("sleep", 0.005)

    with serving(script) as server:
        eager = engine(server, concurrency=12, retries=12)
        done = eager.complete(requests(*map(str, range(40))))
        assert {c.text for c in done} == {"late"}
        assert eager._throttle.limit < 12
        patient["limit"] = 100
        eager.complete(requests(*map(str, range(100, 200))))
        assert eager._throttle.limit == 12  # what the server bears again is used again


# -- structured outputs


def test_a_schema_is_enforced_by_the_server() -> None:
    with serving(lambda body, attempt: '{"scene": "B"}') as server:
        (done,) = engine(server).complete(requests("which?", schema=SCHEMA))
    assert json.loads(done.text) == {"scene": "B"}
    assert server.asked[0]["response_format"]["json_schema"]["schema"] == SCHEMA


@pytest.mark.parametrize("broken", ['{"scene": ', '{"scene": "C"}', "Scene B", '{"place": "B"}', '"B"'])
def test_a_text_that_breaks_its_schema_is_asked_for_again(broken) -> None:
    with serving(lambda body, attempt: broken if attempt == 1 else '{"scene": "A"}') as server:
        (done,) = engine(server).complete(requests("which?", schema=SCHEMA))
    assert (done.text, done.error) == ('{"scene": "A"}', "")


def test_a_text_that_always_breaks_its_schema_is_an_error() -> None:
    with serving(lambda body, attempt: '{"scene": "C"}') as server:
        (done,) = engine(server).complete(requests("which?", schema=SCHEMA))
    assert done.text == ""
    assert "violates its schema: the value.scene must be one of ['A', 'B'], got 'C'" in done.error


@pytest.mark.parametrize("chat", [False, True])
def test_a_server_without_schemas_is_asked_in_words(chat, caplog) -> None:
    def script(body, attempt):
        unknown = (400, {}, b'{"error": "unknown field response_format"}')
        return unknown if "response_format" in body else '{"scene": "A"}'

    prompt = ({"role": "user", "content": "which?"},) if chat else "which?"
    with serving(script) as server, caplog.at_level(logging.WARNING):
        plain = engine(server)
        assert plain.complete(requests(prompt, schema=SCHEMA))[0].text == '{"scene": "A"}'
        plain.complete(requests(prompt, schema=SCHEMA))
    assert len(server.asked) == 3
    assert "JSON schema" in str(server.asked[-1])
    assert caplog.text.count("does not enforce JSON schema") == 1


# -- settings


def test_the_key_is_sent_and_never_reported(monkeypatch) -> None:
    monkeypatch.setenv("VIDWEAVE_TEST_KEY", "open sesame")
    with serving(echo) as server:
        keyed = engine(server, key_variable="VIDWEAVE_TEST_KEY")
        keyed.complete(requests("a"))
    assert server.keys == ["Bearer open sesame"]
    assert "sesame" not in repr(keyed) + json.dumps(keyed.describe())
    assert keyed.describe() == {"engine": "openai", "model": "m", "base_url": server.url, "dialect": "openai"}


def test_it_travels_to_other_processes() -> None:
    with serving(echo) as server:
        used = engine(server)
        used.complete(requests("a"))
        assert pickle.loads(pickle.dumps(used)).complete(requests("b"))[0].text == "B"  # noqa: S301


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"base_url": "localhost:8000"}, "must be an http"),
        ({"base_url": "file:///etc"}, "must be an http"),
        ({"base_url": "https://me:secret@host/v1"}, "must not contain a key; put it into the environment variable"),
        ({"concurrency": 0}, "concurrency must be at least 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong, message) -> None:
    with pytest.raises(ConfigError, match=message):
        OpenAIEngine(model="m", **wrong)


def test_without_httpx_the_install_line_is_reported(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingExtraError, match=r"needs httpx; install it with: pip install 'vidweave\[eval\]'"):
        OpenAIEngine(model="m").complete(requests("a"))
