"""Stage protocols: settings that turn rows into rows and describe everything that determines the result."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

from vidweave.contra4.rows import Row
from vidweave.engines import Engine, Request
from vidweave.errors import EngineError
from vidweave.types import config_to_dict

__all__ = ["FileStage", "RowStage", "Scope", "Stage", "Tallying", "Wrap", "complete", "described"]

Wrap = Callable[[Engine], Engine]

_log = logging.getLogger(__name__)

Scope = Literal["rows", "file"]
"""Whether a stage processes rows in arbitrary batches, or needs all rows at once."""


class Stage(Protocol):
    """Common protocol of both kinds of stages.

    Attributes:
        name: Unique within a pipeline; also the suffix of its folder name.
        scope: A `Scope`.
    """

    name: ClassVar[str]
    scope: ClassVar[str]

    def describe(self) -> dict[str, Any]:
        """Return everything that determines the output besides the input, as JSON data."""
        ...


@runtime_checkable
class RowStage(Stage, Protocol):
    """Stage that works row by row: each output depends on one row only, so that shards may be made in any order."""

    def run(self, rows: Sequence[Row]) -> list[Row]:
        """Return new rows for `rows`, in order; rows may be dropped."""
        ...

    def with_engines(self, wrap: Wrap) -> Self:
        """Return the same stage with each engine wrapped (e.g. by a counting cache)."""
        ...


@runtime_checkable
class Tallying(Protocol):
    """Stage that reports counts."""

    def tally(self, rows: Sequence[Row]) -> dict[str, int]:
        """Count over the input rows; counts are summed over shards into the manifest."""
        ...


@runtime_checkable
class FileStage(Stage, Protocol):
    """Stage that needs all rows, such as sampling and balancing. Deterministic."""

    def run_all(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield all new rows."""
        ...


def complete(engine: Engine, requests: Sequence[Request]) -> list[str | None]:
    """Return texts for `requests`, in order; None where the engine refuses for good (too long, not allowed).

    Raises:
        EngineError: a request failed in a way that may be temporary; all of several requests were refused, which points
            to a wrong setup; or the engine returned another number of completions.
    """
    completions = engine.complete(requests)
    if len(completions) != len(requests):
        name = engine.describe()
        raise EngineError(f"engine {name} returned {len(completions)} completions for {len(requests)} requests")
    failed = [completion for completion in completions if completion.error]
    if any(completion.may_pass for completion in failed) or len(failed) == len(requests) > 1:
        raise EngineError(
            f"{len(failed)} of {len(requests)} requests failed, the first with: {failed[0].error}; "
            "run again to resume, completed requests are kept"
        )
    if failed:
        _log.warning("%d of %d requests were refused, the first with: %s", len(failed), len(requests), failed[0].error)
    return [None if completion.error else completion.text for completion in completions]


def described(stage: Any) -> dict[str, Any]:
    """Convert a stage's settings to JSON data; engines, embedders and similar values describe themselves."""
    return {"stage": stage.name, **{f.name: _plain(getattr(stage, f.name)) for f in fields(stage)}}


def _plain(value: Any) -> Any:
    if hasattr(value, "describe"):
        return value.describe()
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return config_to_dict(value)
