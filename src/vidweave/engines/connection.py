"""HTTP connection to an endpoint, with minimal work per request (extra `eval`).

The cookie, redirect and URL handling of `httpx.AsyncClient` takes a third of its time per request and is not needed here,
so only its transport is used. Each worker has its own connection: a shared pool scans all its connections on every
request.
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
"""Errors of a request that never got a complete reply."""


@dataclass(frozen=True)
class Reply:
    """Reply of a server."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """Connection to one server, used inside ``async with``; one request at a time, without a time limit of its own.

    Args:
        base_url: Address up to and including `/v1`.
        key: API key sent with every request, if given.
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
        """Send `body` as JSON and return the reply; raise `Lost` without a complete reply."""
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
    """Return the CA bundle used to verify TLS connections, made once since loading it is slow; empty for plain HTTP."""
    return httpx.create_ssl_context(verify=scheme != "http")


def _proxy(url: str) -> str | None:
    """Return the proxy set for `url` by the environment (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, …)."""
    parts, known = urlsplit(url), getproxies()
    proxy = known.get(parts.scheme) or known.get("all")
    if not proxy or proxy_bypass(parts.hostname or ""):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _settle_absence(module: str) -> None:
    """Make imports of a module that is not installed fail immediately.

    httpcore tries to import sniffio whenever it creates a lock, several times per request; each attempt would search the
    whole path, which took a fifth of the client's time.
    """
    if module not in sys.modules and find_spec(module) is None:
        sys.modules[module] = None  # type: ignore[assignment]  (documented behavior of the import system)
