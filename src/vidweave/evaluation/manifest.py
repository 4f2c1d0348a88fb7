"""Run manifest: the information needed to reproduce a result."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from vidweave import __version__
from vidweave.evaluation.predictions import Prediction

__all__ = ["run_manifest"]

PACKAGES = ("torch", "transformers", "numpy", "av", "httpx")


def run_manifest(recorded: Mapping[str, Any], predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Return the manifest as JSON data: the prediction file's manifest, a prompt, frames per item and stream, versions.

    Args:
        recorded: The manifest of the prediction file.
        predictions: At least one prediction; the prompt is from the first one, frames are counted over all.
    """
    frames = sorted(len(prediction.frames) for prediction in predictions)
    return {
        **recorded,
        "prompt": predictions[0].prompt,
        "pictures_per_item": {"least": frames[0], "median": frames[len(frames) // 2], "most": frames[-1]},
        "pictures_per_stream": dict(
            Counter(str(use["stream"]) for prediction in predictions for use in prediction.frames)
        ),
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
