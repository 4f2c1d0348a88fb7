"""How many requests are in flight at once, and how fast new ones start, in answer to what the server bears."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

__all__ = ["Pace", "Throttle"]


class Pace:
    """Evenly spaced turns: `per_minute` units a minute, None for no bound. Turns are handed out in order of asking."""

    def __init__(self, per_minute: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds_per_unit = 60 / per_minute if per_minute else 0.0
        self._clock = clock
        self._next = 0.0

    def wait(self, units: float = 1.0) -> float:
        """Take a turn of `units`; returns the seconds until it begins."""
        now = self._clock()
        start = max(now, self._next)
        self._next = start + units * self._seconds_per_unit
        return start - now

    def hold(self, seconds: float) -> None:
        """No turn begins in the next `seconds`."""
        self._next = max(self._next, self._clock() + seconds)


class Throttle:
    """Additive increase, multiplicative decrease of the requests in flight, at most `most`, at least one.

    A request that the server refuses as too much halves the limit, once for all requests that were under way when it
    was last halved; a limit's worth of served requests raises it by one.

    Args:
        most: The limit at the start, and the highest.
        requests_per_minute, tokens_per_minute: What the server's owner grants; None is no bound.
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
        """Serve the event loop that runs now; what was learnt of the server stays."""
        import anyio

        self._slots = anyio.CapacityLimiter(int(self.limit))
        try:
            yield
        finally:
            self._slots = None

    @asynccontextmanager
    async def turn(self, tokens: float) -> AsyncIterator[float]:
        """Wait until a request of about `tokens` may start, and hold its place; yields the time of its start."""
        import anyio

        async with self._slots:
            if (seconds := max(self._requests.wait(), self._tokens.wait(tokens))) > 0:
                await anyio.sleep(seconds)
            yield self._clock()

    def served(self) -> None:
        """A request came through."""
        self._set(self.limit + 1 / self.limit)

    def refused(self, started: float, seconds: float | None = None) -> None:
        """A request that began at `started` was too much; the server asks to wait `seconds`, if it says so."""
        if seconds:
            self._requests.hold(seconds)
        if started > self._halved:
            self._halved = self._clock()
            self._set(self.limit / 2)

    def _set(self, limit: float) -> None:
        self.limit = min(max(limit, 1.0), float(self.most))
        if self._slots is not None and self._slots.total_tokens != int(self.limit):
            self._slots.total_tokens = int(self.limit)
