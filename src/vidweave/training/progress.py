"""Progress display of a training run: a bar on a terminal, periodic lines elsewhere; always on stderr."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

__all__ = ["ProgressDisplay"]

_SECONDS_BETWEEN_LINES = 30.0


class ProgressDisplay:
    """Progress of the stages of a run. With ``is_shown=False`` it prints nothing."""

    def __init__(self, *, is_shown: bool = True) -> None:
        self._console = Console(stderr=True, quiet=not is_shown, soft_wrap=True, highlight=False)
        self._has_bar = is_shown and self._console.is_terminal
        text = TextColumn("{task.percentage:>3.0f}% {task.fields[numbers]}")
        columns = (TextColumn("{task.description}"), BarColumn(), text, TimeElapsedColumn())
        self._bar = Progress(*columns, console=self._console, disable=not self._has_bar)
        self._task: TaskID | None = None
        self._last_line = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Print one line."""
        self._console.print(text, markup=False)

    def begin(self, name: str) -> None:
        """Start a stage."""
        self._task = self._bar.add_task(name, total=1.0, numbers="")
        self._last_line = time.monotonic()

    def show(self, name: str, step: int, progress: float, loss: float, lr: float) -> None:
        """Update after a step."""
        numbers = f"step {step} loss {loss:.4f} lr {lr:.2e}"
        if self._has_bar and self._task is not None:
            self._bar.update(self._task, completed=progress, numbers=numbers)
        elif time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.say(f"{name} {progress:4.0%} {numbers}")
