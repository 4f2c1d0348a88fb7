"""The HTTP side of an endpoint: requests over a kept connection, with as little work for each as httpx allows (extra `eval`).

Cookies, redirects and the joining of addresses, which `httpx.AsyncClient` does for every request, take a third of its time
and are of no use here; so its transport is used alone. Whoever asks has a connection of its own: a shared pool looks at all
its connections for every request.
"""

from __future__ import annotations

import json
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from vidweave import __version__

__all__ = ["Connection", "Lost", "Reply"]

Lost = httpx.TransportError
"""What a request may end in that never got a whole reply."""


@dataclass(frozen=True)
class Reply:
    """What a server sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """To one server, inside ``async with``; one request at a time, with no time limit of its own.

    Args:
        base_url: Up to and with `/v1`.
        key: Sent with every request, if there is one.
    """

    def __init__(self, base_url: str, key: str | None) -> None:
        _settle_absence("sniffio")
        self._base = base_url.rstrip("/")
        self._urls: dict[str, httpx.URL] = {}
        self._headers = {"Content-Type": "application/json", "User-Agent": f"vidweave/{__version__}"}
        self._headers |= {"Authorization": f"Bearer {key}"} if key else {}
        self._transport = httpx.AsyncHTTPTransport(
            verify=_trust(urlsplit(base_url).scheme),
            limits=httpx.Limits(max_connections=1),
            proxy=_proxy(base_url),
        )

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    async def post(self, path: str, body: Mapping[str, Any]) -> Reply:
        """What the server says to `body` as JSON; `Lost` if it says nothing whole."""
        if path not in self._urls:
            self._urls[path] = httpx.URL(f"{self._base}/{path}")
        request = httpx.Request("POST", self._urls[path], headers=self._headers, content=json.dumps(body).encode())
        response = await self._transport.handle_async_request(request)
        try:
            return Reply(response.status_code, response.headers, await response.aread())
        finally:
            await response.aclose()


@cache
def _trust(scheme: str) -> ssl.SSLContext:
    """Whose certificates are believed, without TLS nobody's; made once, since reading them takes as long as an answer."""
    return httpx.create_ssl_context(verify=scheme != "http")


def _proxy(url: str) -> str | None:
    """The proxy that the environment (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, …) names for `url`."""
    parts, known = urlsplit(url), getproxies()
    found = known.get(parts.scheme) or known.get("all")
    if not found or proxy_bypass(parts.hostname or ""):
        return None
    return found if "://" in found else f"http://{found}"


def _settle_absence(module: str) -> None:
    """Let imports of a module that is not installed fail at once.

    httpcore tries sniffio whenever it makes a lock, several times a request; each try would search the whole path, which
    took a fifth of the client's time.
    """
    if module not in sys.modules and find_spec(module) is None:
        sys.modules[module] = None  # type: ignore[assignment]  (what the import system documents for this)
