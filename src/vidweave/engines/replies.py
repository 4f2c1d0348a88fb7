"""Parse server replies into completions or the kind of failure."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from vidweave.engines.protocol import Completion
from vidweave.errors import EngineError

__all__ = ["Refused", "Retry", "read_reply"]

# 409 and 425: a resource in use; 529: overloaded (Anthropic's code)
OVERLOADED = {429, 503, 529}
PASSING = OVERLOADED | {408, 409, 425, 500, 502, 504}
HOPELESS = {401: "no key, or a wrong one", 403: "the key may not do this", 404: "no such model or address"}


class Retry(Exception):  # noqa: N818  (named by the action, not by the error)
    """Try again, after `seconds` if the server says so; `overloaded` means with fewer requests at once."""

    def __init__(self, reason: str, *, seconds: float | None = None, overloaded: bool = False) -> None:
        super().__init__(reason)
        self.seconds = seconds
        self.overloaded = overloaded


class Refused(Exception):  # noqa: N818
    """The server will never accept this request; others may succeed."""


def read_reply(status: int, headers: Mapping[str, str], body: bytes, *, is_chat: bool) -> Completion:
    """Return the completion in a reply.

    Raises:
        Retry: a temporary server problem, or a reply that is not a completion.
        Refused: a request that the server will not serve.
        EngineError: no request can succeed: key, model or address are wrong.
    """
    if status in HOPELESS:
        raise EngineError(f"the endpoint answers {status} ({HOPELESS[status]}): {_message(body)}")
    if status in PASSING:
        seconds = _wait_seconds(headers)
        raise Retry(f"{status}: {_message(body)}", seconds=seconds, overloaded=status in OVERLOADED)
    if status >= 300:
        raise Refused(f"{status}: {_message(body)}")
    try:
        data = json.loads(body)
        choice = data["choices"][0]
        text = choice["message"]["content"] if is_chat else choice["text"]
        refusal = choice["message"].get("refusal") if is_chat else None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise Retry(f"the reply is not a completion ({type(error).__name__}: {error}): {_message(body)}") from None
    if refusal:
        raise Refused(f"the model refuses: {str(refusal)[:200]}")
    if not isinstance(text, str):
        raise Retry(f"the reply contains no text but {text!r:.60}")
    read, written = (_count(data, name) for name in ("prompt_tokens", "completion_tokens"))
    return Completion(text=text, input_tokens=read, output_tokens=written)


def _count(data: Mapping[str, Any], name: str) -> int:
    usage = data.get("usage")
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) else 0


def _message(body: bytes) -> str:
    """Return the message of an error body, in one short line."""
    try:
        error = json.loads(body)["error"]
        text = error["message"] if isinstance(error, dict) else error
    except (ValueError, KeyError, TypeError, RecursionError):
        text = body.decode("utf-8", "replace")
    return " ".join(str(text).split())[:200] or "(nothing)"


def _wait_seconds(headers: Mapping[str, str]) -> float | None:
    """Parse Retry-After, in seconds or as a date; None if it is missing or unreadable."""
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
