"""References for a result: blind baselines on the same items, and published numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Self, TypeGuard

import numpy as np

from vidweave.errors import ConfigError
from vidweave.evaluation.metrics import group
from vidweave.evaluation.predictions import Prediction
from vidweave.evaluation.statistics import paired_bootstrap

__all__ = ["Baseline", "Published", "published"]

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Accuracies of a blind rule on the items of a result, and the gain of the result over it.

    Attributes:
        overall: Mean score.
        facets: Facet → value → mean score.
        gain, low, high: Result minus rule, with the 95% interval of a paired bootstrap.
    """

    name: str
    overall: float
    facets: Mapping[str, Mapping[str, float]]
    gain: float
    low: float
    high: float

    @classmethod
    def of(
        cls,
        name: str,
        scores: Mapping[str, float],
        predictions: Sequence[Prediction],
        facets: Mapping[str, Sequence[str]],
    ) -> Self:
        """Compare a rule with `predictions`.

        Args:
            scores: Item id → 1 right, 0 wrong, or the expected value of a random rule.
            facets: Name of a breakdown → the facets that it combines.

        Raises:
            ConfigError: A prediction has no score.
        """
        missing = [prediction.id for prediction in predictions if prediction.id not in scores]
        if missing:
            raise ConfigError(f"baseline {name!r} has no score for {len(missing)} items, the first is {missing[0]!r}")
        theirs = [scores[prediction.id] for prediction in predictions]
        ours = [float(prediction.correct) for prediction in predictions]
        interval = paired_bootstrap(ours, theirs, CONFIDENCE)
        return cls(
            name=name,
            overall=float(np.mean(theirs)),
            facets={
                title: {
                    value: float(np.mean([scores[r.id] for r in members]))
                    for value, members in group(predictions, names).items()
                }
                for title, names in facets.items()
            },
            gain=float(np.mean(ours) - np.mean(theirs)),
            low=interval.low,
            high=interval.high,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Published:
    """Published numbers for a benchmark.

    Attributes:
        name: Name of the model or row.
        source: Source of the numbers: the folder of its `published.json`, paper, split and note.
        metric: Metric in the paper's words, with the scale (a fraction, or percent).
        overall: The main number, if there is one.
        facets: Facet → value → number, with the names of our facets.
    """

    name: str
    source: str
    metric: str
    overall: float | None = None
    facets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return asdict(self)


def published(benchmark: str) -> list[Published]:
    """Read the published numbers of a benchmark from the package's `published.json` files, in the order of their folders.

    Such a file has ``results``: benchmark → ``{"metric", "split", "value"}``, ``{"metric", "values": {name: number}}`` or
    ``{"metric", "rows": {name: {"overall": number, facet: {value: number}}}}``.
    """
    return [row for name, results in _files() if benchmark in results for row in _rows(name, results[benchmark])]


def _files() -> Iterator[tuple[str, dict[str, Any]]]:
    """(folder, results) of every file in the package."""
    for folder in _folders(files("vidweave")):
        path = folder / "published.json"
        if path.is_file():
            content = json.loads(path.read_text(encoding="utf-8"))
            arxiv = content.get("paper", {}).get("arxiv")
            more = {} if arxiv is None else {"arxiv": arxiv}
            yield folder.name, {name: {**more, **entry} for name, entry in content.get("results", {}).items()}


def _folders(root: Traversable) -> Iterator[Traversable]:
    for package in ("systems", "contra4", "evaluation"):
        folder = root / package
        if folder.is_dir():
            yield folder
            yield from sorted((f for f in folder.iterdir() if f.is_dir()), key=lambda f: f.name)


def _rows(folder: str, entry: Mapping[str, Any]) -> Iterator[Published]:
    metric = str(entry.get("metric", "accuracy"))
    parts = (folder, f"arXiv {entry['arxiv']}" if "arxiv" in entry else "", entry.get("split", ""))
    source = ", ".join(part for part in parts if part)
    if _is_number(entry.get("value")):
        yield Published(name=folder, source=source, metric=metric, overall=entry["value"])
    for name, value in entry.get("values", {}).items():
        first = value[0] if isinstance(value, list) and value else value  # accuracy, then the judge's score
        if _is_number(first):
            yield Published(name=f"{folder} {name}", source=source, metric=metric, overall=first)
    for name, row in entry.get("rows", {}).items():
        note = f"{source}: {row['note']}" if "note" in row else source
        facets = {facet: dict(values) for facet, values in row.items() if isinstance(values, Mapping)}
        yield Published(name=name, source=note, metric=metric, overall=row.get("overall"), facets=facets)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
