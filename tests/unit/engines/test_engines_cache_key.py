"""Whatever changes a completion changes its key in the response cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest

from vidweave.engines import Request, Sampling
from vidweave.engines.cache import CachedEngine, ResponseCache, Usage, request_key
from vidweave.engines.local import TransformersEngine
from vidweave.engines.openai import OpenAIEngine
from vidweave.engines.protocol import Completion

PARTS = (
    {"type": "text", "text": "Which?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
)
SCHEMA = {"type": "object", "properties": {"scene": {"type": "string", "enum": ["A", "B"]}}, "required": ["scene"]}
REQUEST = Request(
    prompt=({"role": "system", "content": "Be brief."}, {"role": "user", "content": list(PARTS)}),
    sampling=Sampling(temperature=0.3, top_p=0.9, max_tokens=30, min_tokens=10, seed=7, stop=("\n", "Scene")),
    schema=SCHEMA,
)


def changed(value: Any) -> Any:
    """Each way to change one leaf of JSON data, and to leave one out."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield {k: v for k, v in value.items() if k != key}
            yield from ({**value, key: other} for other in changed(item))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield type(value)([*value[:index], *value[index + 1 :]])
            yield from (type(value)([*value[:index], other, *value[index + 1 :]]) for other in changed(item))
    elif isinstance(value, str):
        yield value + " "
    elif isinstance(value, (int, float)):
        yield value + 1 if isinstance(value, int) else value / 2


def test_every_part_of_a_request_is_in_its_key() -> None:
    others = [replace(REQUEST, prompt="Which?"), replace(REQUEST, schema=None), replace(REQUEST, schema={})]
    others += [replace(REQUEST, prompt=prompt) for prompt in changed(REQUEST.prompt)]
    others += [replace(REQUEST, prompt=REQUEST.prompt[::-1])]
    others += [replace(REQUEST, schema=schema) for schema in changed(SCHEMA)]
    for name in (f.name for f in fields(Sampling)):
        values = list(changed(getattr(REQUEST.sampling, name)))
        assert values, f"no other value of {name}"
        others += [replace(REQUEST, sampling=replace(REQUEST.sampling, **{name: value})) for value in values]
    assert {f.name for f in fields(Request)} == {"prompt", "sampling", "schema"}
    keys = {request_key({"engine": "e", "model": "m"}, request) for request in (REQUEST, *others)}
    assert len(keys) == len(others) + 1


def test_every_fact_about_the_engine_is_in_the_key() -> None:
    about = {"engine": "openai", "model": "m", "base_url": "http://x/v1", "body": {"top_k": 4, "extra": [1, 2]}}
    keys = [request_key(facts, REQUEST) for facts in (about, *changed(about))]
    assert len(set(keys)) == len(keys)
    assert request_key(dict(reversed(about.items())), REQUEST) == keys[0]  # the order of keys says nothing


# Settings of an engine that change its texts, and those that change only how fast or how dearly they come
DECIDES = {"model": "other", "base_url": "http://127.0.0.1:9/v1", "dialect": "vllm", "body": {"top_k": 4}}
SPEED = {
    "key_variable": "OTHER",
    "length_field": "max_completion_tokens",
    "concurrency": 3,
    "requests_per_minute": 5.0,
    "tokens_per_minute": 5.0,
    "timeout_seconds": 9.0,
    "retries": 2,
    "pause_seconds": 0.1,
    "input_price": 1.0,
    "output_price": 1.0,
}


@pytest.mark.parametrize(("settings", "counts"), [(DECIDES, True), (SPEED, False)])
def test_an_endpoint_describes_what_decides_its_texts_and_nothing_else(settings, counts) -> None:
    assert {f.name for f in fields(OpenAIEngine)} == {*DECIDES, *SPEED}  # a new setting must be sorted in here
    plain = OpenAIEngine(model="m")
    for name, value in settings.items():
        other = replace(plain, **{name: value})
        assert (request_key(plain.describe(), REQUEST) != request_key(other.describe(), REQUEST)) is counts, name
    body = replace(plain, body={"top_k": 5})
    assert request_key(body.describe(), REQUEST) != request_key(replace(body, body={"top_k": 4}).describe(), REQUEST)


def test_a_model_in_this_process_describes_weights_revision_and_dtype() -> None:
    described = []
    for changes in ({}, {"source": "b"}, {"revision": "r"}, {"dtype": "bfloat16"}):
        engine = TransformersEngine.__new__(TransformersEngine)
        vars(engine).update({"source": "a", "revision": None, "dtype": "float32", "batch_size": 4, **changes})
        described.append(request_key(engine.describe(), REQUEST))
    assert len(set(described)) == 4


class Counting:
    def __init__(self) -> None:
        self.asked: list[Request] = []

    def describe(self) -> dict[str, Any]:
        return {"engine": "counting", "model": "m"}

    def complete(self, requests):
        self.asked += requests
        return [
            Completion(
                text=f"text {len(self.asked)}",
                error="no" if request.prompt == "bad" else "",
                input_tokens=3,
                output_tokens=5,
                cost=0.5,
            )
            for request in requests
        ]


def test_what_is_kept_comes_back_whole_and_failures_are_asked_again(tmp_path) -> None:
    engine, requests = Counting(), [REQUEST, replace(REQUEST, schema=None), replace(REQUEST, prompt="bad")]
    first = CachedEngine(engine, ResponseCache(tmp_path), Usage()).complete(requests)
    usage = Usage()
    again = CachedEngine(engine, ResponseCache(tmp_path), usage)
    assert again.complete(requests)[:2] == first[:2]
    assert [request.prompt for request in engine.asked[3:]] == ["bad"]
    assert (usage.requests, usage.asked, usage.refused) == (3, 1, 1)
    assert (usage.input_tokens, usage.output_tokens, usage.cost) == (9, 15, 1.5)
