"""Merge the prediction files of the parts of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vidweave.errors import PredictionError
from vidweave.evaluation.predictions import Prediction, PredictionFile, read_predictions
from vidweave.storage import atomic_path, changed_settings, lock_file

__all__ = ["merge_predictions"]


def merge_predictions(files: Sequence[Path], out: Path) -> int:
    """Write the predictions of several files to a new file, and return their number.

    Raises:
        PredictionError: `out` exists, files are from different runs, an item has two different answers, or a file is damaged.
    """
    if not files:
        raise PredictionError("there are no prediction files to merge; give those of the parts")
    if out.exists():
        raise PredictionError(f"{out} already exists; choose a new file")
    manifest, _ = read_predictions(files[0])
    merged: dict[str, tuple[Prediction, Path]] = {}
    for path in files:
        theirs, predictions = read_predictions(path)
        if changed := changed_settings(manifest, theirs):
            name, before, after = changed[0]
            raise PredictionError(f"{files[0]} and {path} are from different runs ({name}: {before!r} and {after!r})")
        for prediction in predictions:
            known, where = merged.setdefault(prediction.id, (prediction, path))
            if known != prediction:
                raise PredictionError(
                    f"item {prediction.id!r} was answered differently in {where} and {path}; run it once"
                )
    with atomic_path(out) as scratch:
        with PredictionFile(scratch, manifest) as file:
            file.add([prediction for prediction, _ in merged.values()])
        lock_file(scratch).unlink(missing_ok=True)
    return len(merged)
