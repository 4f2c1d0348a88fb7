"""In-process engine whose texts come from a function: for tests, toyworld and rule-based stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vidweave.engines.protocol import Completion, Request

__all__ = ["ScriptedEngine"]


class ScriptedEngine:
    """Complete each request with ``script(request)``; tokens are counted as words.

    Args:
        script: A pure function, so that the same request always gives the same text.
        model: Name in manifests and cache keys; change it when the script changes.
        price: Price per thousand tokens, the same for input and output.
    """

    def __init__(self, script: Callable[[Request], str], model: str, *, price: float = 0.0) -> None:
        self.script, self.model, self.price = script, model, price

    def describe(self) -> dict[str, Any]:
        return {"engine": "scripted", "model": self.model}

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        return [self._one(request) for request in requests]

    def _one(self, request: Request) -> Completion:
        text = self.script(request)
        read, written = len(_words(request.prompt)), len(text.split())
        cost = self.price * (read + written) / 1000
        return Completion(text=text, input_tokens=read, output_tokens=written, cost=cost)


def _words(prompt: Any) -> list[str]:
    return prompt.split() if isinstance(prompt, str) else [w for m in prompt for w in str(m["content"]).split()]
