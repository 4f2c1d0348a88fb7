"""The engine protocol and the scripted engine."""

import pytest

from vidweave.engines import Engine, Request, Sampling, ScriptedEngine
from vidweave.errors import ConfigError


def test_scripted_engine_counts_words_and_cost():
    engine = ScriptedEngine(lambda r: f"you said {r.prompt}" if isinstance(r.prompt, str) else "chat", "echo", price=10)
    assert isinstance(engine, Engine)
    chat = ({"role": "user", "content": "one two three"},)
    first, second = engine.complete([Request(prompt=p, sampling=Sampling()) for p in ("so then", chat)])
    assert (first.text, first.input_tokens, first.output_tokens, first.cost) == ("you said so then", 2, 4, 0.06)
    assert (second.text, second.input_tokens) == ("chat", 3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": -1}, "temperature must be >= 0"),
        ({"top_p": 0.0}, "top_p in"),
        ({"min_tokens": 9, "max_tokens": 8}, "0 <= min <= max and max >= 1, got 9 and 8"),
        ({"max_tokens": 0}, "max >= 1"),
    ],
)
def test_sampling_is_checked(values, message):
    with pytest.raises(ConfigError, match=message):
        Sampling(**values)
