"""Decode in a separate process that can be killed: for untrusted media.

A decoder that hangs or crashes inside C code takes its process with it, and cannot be stopped from within the process.
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
    """Frames by index from a separate process; offers the same as every source of frames.

    Args:
        opener: ``opener(*arguments)`` → a source of frames; importable by name, as the process imports it again.
        limits: `max_decode_seconds` is the maximum duration of one call before the process is killed.

    Raises:
        MediaLimitError: opening or decoding took too long.
        MediaDecodeError: the process died.
        MediaError: any error of the source itself.
    """

    def __init__(self, opener: Callable[..., FrameSource], *arguments: Any, limits: Limits) -> None:
        self._limits, self.label = limits, describe(arguments[0] if arguments else "")
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, opener, arguments), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self._receive(_START_SECONDS)  # imports are done: the clock of the call starts
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
        """Run ``function(source, *arguments)`` in the process; everything is sent by name or by value."""
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
    """Main loop of the process: open, send the times, then answer calls until the pipe is closed."""
    pipe.send((True, None))
    try:
        source = opener(*arguments)
        pipe.send((True, (source.pts_seconds, source.duration_seconds)))
    except Exception as error:  # noqa: BLE001  # every failure is sent to the caller
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
    """Keep our errors, which consist of their message; convert others, which may not survive pickling."""
    if isinstance(error, VidweaveError) and error.args == (str(error),):
        return error
    return MediaDecodeError(f"decoding failed ({type(error).__name__}: {error})")
