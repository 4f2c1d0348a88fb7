"""What a result was made with: enough to make it again."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from vidweave import __version__
from vidweave.evaluation.records import Record

__all__ = ["run_manifest"]

PACKAGES = ("torch", "transformers", "numpy", "av", "httpx")


def run_manifest(recorded: Mapping[str, Any], records: Sequence[Record]) -> dict[str, Any]:
    """JSON data: task, model and decoding as the record file has them, one prompt, pictures per item, versions.

    Args:
        recorded: The manifest of the record file.
        records: At least one; the prompt is that of the first, pictures are counted in all.
    """
    pictures = sorted(len(record.frames) for record in records)
    return {
        **recorded,
        "prompt": records[0].prompt,
        "pictures_per_item": {"least": pictures[0], "median": pictures[len(pictures) // 2], "most": pictures[-1]},
        "pictures_per_stream": dict(Counter(str(use["stream"]) for record in records for use in record.frames)),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of this library, of Python, and of the installed packages that decide figures."""
    found = {"vidweave": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
