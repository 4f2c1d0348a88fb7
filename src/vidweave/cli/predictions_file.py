"""Path of the prediction file of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["predictions_path"]


@contextmanager
def predictions_path(given: str | None) -> Iterator[Path]:
    """Yield the given path, or a temporary file that is removed after the command."""
    if given is not None:
        yield Path(given)
        return
    with TemporaryDirectory(prefix="vidweave-") as folder:
        yield Path(folder) / "predictions.jsonl"
