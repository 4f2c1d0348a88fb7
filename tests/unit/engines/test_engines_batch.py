"""The batch interface of endpoints: submitted once, polled, resumed, and what is lost is asked again."""

from __future__ import annotations

import pytest

from tests.unit.engines.batch_server import serving_batches
from vidweave.engines import Completion, Request, Sampling, batch
from vidweave.engines.batch import OpenAIBatchEngine
from vidweave.engines.cache import CachedEngine, ResponseCache, Usage
from vidweave.engines.openai import OpenAIEngine
from vidweave.errors import ConfigError, EngineError


def asked(*words: str) -> list[Request]:
    return [Request(prompt=({"role": "user", "content": w},), sampling=Sampling(max_tokens=9)) for w in words]


def echo(body):
    return f"about {body['messages'][-1]['content']}"


def engine(server, folder, **more):
    endpoint = OpenAIEngine(model="judge", base_url=server.url, pause_seconds=0.001)
    return OpenAIBatchEngine(engine=endpoint, state=folder / "batch.json", poll_seconds=0.0, **more)


def test_replies_come_back_in_order(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    seen = []
    with serving_batches(echo) as server:
        made = engine(server, tmp_path, progress=lambda done, total: seen.append((done, total))).complete(
            asked("a", "b", "a")
        )
        assert made == [Completion(text=f"about {w}", input_tokens=5, output_tokens=2) for w in "aba"]
        lines = server.lines()
        assert len(lines) == 2, "equal requests are asked once"
        assert lines[0] == {
            "custom_id": lines[0]["custom_id"],
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": OpenAIEngine(model="judge", base_url=server.url).body_of(asked("a")[0])[1],
        }
        assert server.keys == {"Bearer secret"}
    assert seen == [(1, 2), (2, 2)]


def test_a_stopped_process_goes_on_with_the_batch_that_it_submitted(tmp_path):
    def stop(seconds):
        raise KeyboardInterrupt

    with serving_batches(echo) as server:
        with pytest.raises(KeyboardInterrupt):
            engine(server, tmp_path, sleep=stop).complete(asked("a", "b"))
        made = engine(server, tmp_path).complete(asked("b", "c"))
        assert [c.text for c in made] == ["about b", "about c"]
        assert [line["body"]["messages"][0]["content"] for line in server.lines()] == ["a", "b", "c"]
        assert server.calls.count("POST /v1/batches") == 2


def test_results_that_were_not_kept_are_fetched_again_without_a_new_batch(tmp_path):
    with serving_batches(echo) as server:
        engine(server, tmp_path).complete(asked("a"))  # killed before the results were stored
        assert engine(server, tmp_path).complete(asked("a"))[0].text == "about a"
        assert server.calls.count("POST /v1/batches") == 1


def test_what_a_batch_does_not_answer_is_asked_in_another(tmp_path):
    broken = {"b": None, "c": {"response": {"status_code": 500, "body": {"error": {"message": "crash"}}}},
              "d": {"response": None, "error": {"message": "expired"}},
              "e": {"response": {"status_code": 400, "body": {"error": {"message": "too long"}}}}}  # fmt: skip

    def reply(body):
        word = body["messages"][-1]["content"]
        return broken[word] if word in broken else echo(body)

    with serving_batches(reply) as server:
        server.ends = "expired"
        first = engine(server, tmp_path).complete(asked("a", "b", "c", "d", "e"))
        assert [c.text for c in first] == ["about a", "", "", "", ""]
        assert [c.may_pass for c in first] == [False, True, True, True, False]
        assert "too long" in first[4].error
        broken.clear()
        server.ends = "completed"
        cached = CachedEngine(
            engine(server, tmp_path), ResponseCache(tmp_path / "cache"), Usage(), requests_per_call=99
        )
        second = cached.complete(asked("b", "c", "d", "e"))
        assert [c.text for c in second] == ["about b", "about c", "about d", "about e"]


def test_a_cache_is_shared_with_the_endpoint_without_batches(tmp_path):
    with serving_batches(echo) as server:
        cache = ResponseCache(tmp_path / "cache")
        CachedEngine(engine(server, tmp_path), cache, Usage()).complete(asked("a"))
        endpoint = OpenAIEngine(model="judge", base_url=server.url)
        calls = len(server.calls)
        assert CachedEngine(endpoint, cache, Usage()).complete(asked("a"))[0].text == "about a"
        assert len(server.calls) == calls


def test_trouble_of_the_moment_is_retried_and_long_trouble_named(tmp_path):
    with serving_batches(echo) as server:
        server.lost = 3
        assert engine(server, tmp_path).complete(asked("a"))[0].text == "about a"
        server.lost = 99
        with pytest.raises(
            EngineError, match=r"cannot be reached \(503: .*busy.*run the same command again, which goes on"
        ):
            engine(server, tmp_path, sleep=lambda seconds: None).complete(asked("b"))
    with pytest.raises(EngineError, match="cannot be reached"):
        engine(server, tmp_path, sleep=lambda seconds: None).complete(asked("b"))


def test_many_requests_become_several_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "MAX_REQUESTS", 2)
    with serving_batches(echo) as server:
        assert [c.text for c in engine(server, tmp_path).complete(asked(*"abcde"))] == [f"about {w}" for w in "abcde"]
        assert len(server.batches) == 3
    monkeypatch.setattr(batch, "MAX_BYTES", 100)
    assert [len(chunk) for chunk in batch._chunks({"a": b"x" * 60, "b": b"x" * 60, "c": b"x" * 200})] == [1, 1, 1]


def test_refusals(tmp_path):
    with serving_batches(echo) as server:
        server.ends = "failed"
        with pytest.raises(EngineError, match="refuses the batch batch-0: the model does not exist"):
            engine(server, tmp_path).complete(asked("a"))
        server.ends = "completed"
        assert engine(server, tmp_path).complete(asked("a"))[0].text == "about a"  # in a new batch
        with pytest.raises(ConfigError, match="a batch takes chat messages"):
            engine(server, tmp_path).complete([Request(prompt="a", sampling=Sampling())])
        endpoint = OpenAIEngine(model="judge", base_url=server.url + "/nothing")
        made = OpenAIBatchEngine(engine=endpoint, state=tmp_path / "other.json")
        with pytest.raises(EngineError, match=r"answers 404: .*seems to have no batch interface"):
            made.complete(asked("a"))
        (tmp_path / "other.json").write_text("[]")
        with pytest.raises(EngineError, match="is not a file of submitted batches; delete it"):
            made.complete(asked("a"))
