"""Logs of a run: CSV files that match the checkpoint after a resume, and TensorBoard events."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vidweave.errors import TrainingError
from vidweave.storage import write_atomically

__all__ = ["CsvLog", "EventLog", "write_names"]


class CsvLog:
    """Rows of numbers by step. The first row determines the columns; floats are written without loss.

    Opening it drops rows after `last_step` (written after the resumed checkpoint) and an incomplete line.
    """

    def __init__(self, path: Path, *, last_step: int) -> None:
        self.path = path
        self.columns: list[str] = []
        self._file: io.FileIO | None = None
        if path.exists():
            self._truncate(last_step)

    def write(self, row: Mapping[str, float]) -> None:
        """Add a row that includes `step`.

        Raises:
            TrainingError: the row has a column that the first row lacks, or the disk is full.
        """
        if not self.columns:
            self.columns = list(row)
            self._append(self.columns)
        extra = [key for key in row if key not in self.columns]
        if extra:
            raise TrainingError(
                f"{self.path.name} has no column {extra[0]!r}; objectives must return the same parts each step"
            )
        self._append([repr(row[key]) if key in row else "" for key in self.columns])

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _append(self, values: list[str]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(values)
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("ab", buffering=0)  # unbuffered: a full disk fails here, not at the end
            self._file.write(line.getvalue().encode())
        except OSError as error:
            raise _unwritten(self.path, error) from error

    def _truncate(self, last_step: int) -> None:
        lines = [line for line in self.path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        kept = [line for line in lines[1:] if int(line.split(",", 1)[0]) <= last_step]
        if not kept:
            self.path.unlink()
            return
        self.columns = next(csv.reader(lines[:1]))
        write_atomically(self.path, "".join([lines[0], *kept]).encode())


def write_names(path: Path, passes: Mapping[str, Iterable[str]]) -> None:
    """Write a line per trainable parameter: its pass, a tab, its name.

    Raises:
        TrainingError: the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = (f"{name}\t{member}\n" for name, members in passes.items() for member in members)
        path.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise _unwritten(path, error) from error


def _unwritten(path: Path, error: OSError) -> TrainingError:
    return TrainingError(f"the log {path} could not be written ({error}); free space and resume")


class EventLog:
    """TensorBoard events, if tensorboard is installed (`is_available`)."""

    def __init__(self, folder: Path, *, last_step: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torch.utils.tensorboard.writer import SummaryWriter

            self._writer: Any = SummaryWriter(str(folder), purge_step=last_step + 1 if last_step else None)

    @staticmethod
    def is_available() -> bool:
        """Whether tensorboard is installed."""
        return find_spec("tensorboard") is not None

    def write(self, prefix: str, row: Mapping[str, float], total_steps: int) -> None:
        """Add the numbers of `row` under ``prefix/name``."""
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(f"{prefix}/{name}", value, total_steps)

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()
