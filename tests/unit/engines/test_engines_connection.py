"""The HTTP side of an endpoint: certificates, proxies, and imports that are not tried again."""

from __future__ import annotations

import json
import ssl
import sys

import httpx
import pytest

from tests.unit.engines.language_server import serving
from vidweave.engines import Request, Sampling
from vidweave.engines.connection import Connection, _settle_absence
from vidweave.engines.openai import OpenAIEngine

VARIABLES = [name for proxy in ("http", "https", "all", "no") for name in (f"{proxy}_proxy", f"{proxy}_proxy".upper())]


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "https://127.0.0.1:9/v1", "HTTPS://127.0.0.1:9/v1"])
def test_certificates_are_read_once_and_always_verified(url, monkeypatch) -> None:
    given = []

    class Transport(httpx.AsyncHTTPTransport):
        def __init__(self, **arguments):
            given.append(arguments["verify"])
            super().__init__(**arguments)

    monkeypatch.setattr(httpx, "AsyncHTTPTransport", Transport)
    Connection(url, None)
    Connection(url, None)
    assert given[0] is given[1]
    is_verified = (given[0].verify_mode, given[0].check_hostname) == (ssl.CERT_REQUIRED, True)
    assert is_verified is not url.startswith("http:")  # which has no certificates


def complete(url: str) -> str:
    request = Request(prompt="a", sampling=Sampling(max_tokens=3))
    return OpenAIEngine(model="m", base_url=url, retries=0).complete([request])[0].text


def test_the_environments_proxy_is_used_unless_it_says_otherwise(monkeypatch) -> None:
    with serving(lambda body, attempt: "from afar") as proxy, serving(lambda body, attempt: "from here") as server:
        address = proxy.url.removesuffix("/v1")
        for given in (address, address.removeprefix("http://")):
            monkeypatch.setenv("HTTP_PROXY", given)
            assert complete("http://models.example:8000/v1/") == "from afar"
        assert proxy.paths == ["http://models.example:8000/v1/completions"] * 2
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert complete(server.url) == "from here"


def test_a_module_that_is_absent_is_not_searched_for_again(monkeypatch) -> None:
    looks = []

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            looks.append(name)

    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    monkeypatch.delitem(sys.modules, "vidweave_absent", raising=False)
    for _ in range(3):
        _settle_absence("vidweave_absent")
        with pytest.raises(ImportError):
            import vidweave_absent  # noqa: F401
    assert looks == ["vidweave_absent"]
    monkeypatch.delitem(sys.modules, "vidweave_absent")
    _settle_absence("json")
    assert sys.modules["json"] is json
