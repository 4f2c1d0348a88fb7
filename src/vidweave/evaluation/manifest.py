"""Run manifest: the information needed to reproduce a result."""

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
    """Return the manifest as JSON data: the record file's manifest, a prompt, frames per item and stream, versions.

    Args:
        recorded: The manifest of the record file.
        records: At least one record; the prompt is from the first one, frames are counted over all.
    """
    frames = sorted(len(record.frames) for record in records)
    return {
        **recorded,
        "prompt": records[0].prompt,
        "pictures_per_item": {"least": frames[0], "median": frames[len(frames) // 2], "most": frames[-1]},
        "pictures_per_stream": dict(Counter(str(use["stream"]) for record in records for use in record.frames)),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions of vidweave, Python and the packages that affect results."""
    info = {"vidweave": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for name in PACKAGES:
        try:
            info[name] = version(name)
        except PackageNotFoundError:
            continue
    return info
