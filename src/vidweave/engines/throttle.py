"""Limit requests in flight and their start rate, adapting to the server's load."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

__all__ = ["Pace", "Throttle"]


class Pace:
    """Evenly spaced turns: `per_minute` units per minute, None for no limit. Turns are given in order of request."""

    def __init__(self, per_minute: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds_per_unit = 60 / per_minute if per_minute else 0.0
        self._clock = clock
        self._next = 0.0

    def wait(self, units: float = 1.0) -> float:
        """Reserve `units`; return the seconds until the turn begins."""
        now = self._clock()
        start = max(now, self._next)
        self._next = start + units * self._seconds_per_unit
        return start - now

    def hold(self, seconds: float) -> None:
        """Delay all turns by at least `seconds` from now."""
        self._next = max(self._next, self._clock() + seconds)


class Throttle:
    """Additive increase, multiplicative decrease of the requests in flight, between one and `most`.

    A request rejected for overload halves the limit, once for all requests that were in flight when it was last halved; as
    many successful requests as the limit raise it by one.

    Args:
        most: Initial and maximum limit.
        requests_per_minute, tokens_per_minute: Rate limits of the server; None is no limit.
    """

    def __init__(
        self,
        most: int,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most = most
        self.limit = float(most)
        self._requests = Pace(requests_per_minute, clock)
        self._tokens = Pace(tokens_per_minute, clock)
        self._clock = clock
        self._halved = float("-inf")
        self._slots: Any = None

    @contextmanager
    def open(self) -> Iterator[None]:
        """Attach to the running event loop; the state of the limit is kept."""
        import anyio

        self._slots = anyio.CapacityLimiter(int(self.limit))
        try:
            yield
        finally:
            self._slots = None

    @asynccontextmanager
    async def turn(self, tokens: float) -> AsyncIterator[float]:
        """Wait until a request of about `tokens` may start and occupy a slot; yields its start time."""
        import anyio

        async with self._slots:
            if (seconds := max(self._requests.wait(), self._tokens.wait(tokens))) > 0:
                await anyio.sleep(seconds)
            yield self._clock()

    def served(self) -> None:
        """Report a successful request."""
        self._set(self.limit + 1 / self.limit)

    def refused(self, started: float, seconds: float | None = None) -> None:
        """Report that a request started at `started` was rejected for overload; wait `seconds` if the server asks for it."""
        if seconds:
            self._requests.hold(seconds)
        if started > self._halved:
            self._halved = self._clock()
            self._set(self.limit / 2)

    def _set(self, limit: float) -> None:
        self.limit = min(max(limit, 1.0), float(self.most))
        if self._slots is not None and self._slots.total_tokens != int(self.limit):
            self._slots.total_tokens = int(self.limit)
