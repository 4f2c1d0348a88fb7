"""Protocol between stages and engines: sampling settings, requests and completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from vidweave.errors import ConfigError

__all__ = ["Completion", "Engine", "Request", "Sampling"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Decoding settings. Temperature 0 is greedy; the same request with the same seed should give the same text.

    Attributes:
        temperature, top_p: Standard meaning. The number of candidates (top-k) is never limited.
        max_tokens, min_tokens: Length of the completion; engines without a minimum ignore it.
        seed: Random seed per request.
        stop: Texts that end the completion and are not part of it.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 120
    min_tokens: int = 0
    seed: int = 42
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ConfigError(f"temperature must be >= 0 and top_p in (0, 1], got {self.temperature} and {self.top_p}")
        if not 0 <= self.min_tokens <= self.max_tokens or self.max_tokens < 1:
            raise ConfigError(
                f"tokens must be 0 <= min <= max and max >= 1, got {self.min_tokens} and {self.max_tokens}"
            )


@dataclass(frozen=True, kw_only=True)
class Request:
    """Request for one text.

    Attributes:
        prompt: A text to continue verbatim, or chat messages ``{"role", "content"}`` in OpenAI's format, whose
            content may be a list of parts.
        sampling: Decoding settings.
        schema: JSON schema of the text, for engines that can enforce one; None is free text.
    """

    prompt: str | tuple[Mapping[str, Any], ...]
    sampling: Sampling
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Completion:
    """Result of one request.

    Attributes:
        text: The new text only; may be empty.
        error: Why there is no text, in one line, after all retries; empty on success.
        may_pass: The error is the server's trouble of the moment, not the request's; asked later it may succeed.
        input_tokens, output_tokens: As the engine counts them.
        cost: In the currency of the engine's price list; 0 where nothing is paid.
    """

    text: str
    error: str = ""
    may_pass: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0


@runtime_checkable
class Engine(Protocol):
    """A model that completes prompts."""

    def describe(self) -> dict[str, Any]:
        """What decides its texts, as JSON data: at least `engine` (its kind) and `model`. Part of every cache key.

        No secrets, and nothing that changes only how fast it goes.
        """
        ...

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Return one completion per request, in order.

        A request that fails for good gives a completion with `error`; the others are unaffected.
        """
        ...
