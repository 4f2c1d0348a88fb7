"""Decoding in a process of its own, which can be killed: for media that nobody vouches for.

A decoder that hangs or crashes inside C code takes its process with it, and no clock of ours can stop it from within.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from vidweave.errors import MediaDecodeError, MediaLimitError, VidweaveError
from vidweave.media.frames import FrameSource
from vidweave.media.guards import describe
from vidweave.media.limits import Limits
from vidweave.types import Frames

__all__ = ["IsolatedFrames"]

_START_SECONDS = 60.0  # a new interpreter, its imports included, on a busy machine


class IsolatedFrames:
    """Pictures by index from a process of their own; offers what every source of pictures offers.

    Args:
        opener: ``opener(*arguments)`` → a source of pictures; importable by name, as the process imports it anew.
        limits: `max_decode_seconds` is how long one call may take before the process is killed.

    Raises:
        MediaLimitError: opening or decoding took too long.
        MediaDecodeError: the process died.
        MediaError: whatever the source itself raises.
    """

    def __init__(self, opener: Callable[..., FrameSource], *arguments: Any, limits: Limits) -> None:
        self._limits, self.label = limits, describe(arguments[0] if arguments else "")
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, opener, arguments), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self._receive(_START_SECONDS)  # its imports are done: the clock of the call starts
            self.pts_seconds, self.duration_seconds = self._receive()
        except BaseException:
            self.close()
            raise

    @property
    def notes(self) -> list[str]:
        return self.call(_notes)

    def read(self, indices: Sequence[int] | np.ndarray) -> Frames:
        return self.call(_read, np.asarray(indices))

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """``function(source, *arguments)`` in the process; all of it is sent by name or by value."""
        try:
            self._pipe.send((function, arguments))
        except (BrokenPipeError, OSError):
            raise self._died() from None
        return self._receive()

    def close(self) -> None:
        """End the process; safe to call twice."""
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self._pipe.close()

    def _receive(self, seconds: float | None = None) -> Any:
        start = time.monotonic()
        cap = self._limits.max_decode_seconds if seconds is None else seconds
        if not self._pipe.poll(cap):
            self.close()
            took = time.monotonic() - start
            self._limits.check("max_decode_seconds", took, f"{self.label} takes too many seconds to read")
            raise MediaLimitError(f"{self.label} could not be opened: its process did not start within {cap:g} s")
        try:
            is_fine, value = self._pipe.recv()
        except (EOFError, OSError):
            raise self._died() from None
        if not is_fine:
            raise value
        return value

    def _died(self) -> MediaDecodeError:
        self._process.join(5)
        code = self._process.exitcode
        return MediaDecodeError(
            f"{self.label}: the process that decodes it died (exit code {code}); the file is corrupt"
        )


def _notes(source: FrameSource) -> list[str]:
    return source.notes


def _read(source: FrameSource, indices: np.ndarray) -> Frames:
    return source.read(indices)


def _serve(pipe: Connection, opener: Callable[..., FrameSource], arguments: tuple[Any, ...]) -> None:
    """The process: open, tell the times, then answer calls until the pipe is closed."""
    pipe.send((True, None))
    try:
        source = opener(*arguments)
        pipe.send((True, (source.pts_seconds, source.duration_seconds)))
    except Exception as error:  # noqa: BLE001  # every failure is the caller's to see
        pipe.send((False, _portable(error)))
        return
    while True:
        try:
            function, given = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((True, function(source, *given)))
        except Exception as error:  # noqa: BLE001  # as above
            pipe.send((False, _portable(error)))


def _portable(error: Exception) -> Exception:
    """Our errors, which are made of their message alone, as they are; others by name: they may not survive the pipe."""
    if isinstance(error, VidweaveError) and error.args == (str(error),):
        return error
    return MediaDecodeError(f"decoding failed ({type(error).__name__}: {error})")
