"""What every stage of the pipeline is: settings that turn rows into rows, and say what decides the result."""

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
"""Whether a stage sees some rows at a time, whichever, or all rows at once."""


class Stage(Protocol):
    """Common to both kinds.

    Attributes:
        name: Unique in a pipeline, and the end of its folder's name.
        scope: A `Scope`.
    """

    name: ClassVar[str]
    scope: ClassVar[str]

    def describe(self) -> dict[str, Any]:
        """All that decides the output, besides the input, as JSON data."""
        ...


@runtime_checkable
class RowStage(Stage, Protocol):
    """Works row by row: the output of a row depends on no other row, so that shards may be made in any order."""

    def run(self, rows: Sequence[Row]) -> list[Row]:
        """New rows for `rows`, in order; a row may be dropped."""
        ...

    def with_engines(self, wrap: Wrap) -> Self:
        """The same stage with each of its engines wrapped (by a cache that counts)."""
        ...


@runtime_checkable
class Tallying(Protocol):
    """A stage that counts things worth reporting."""

    def tally(self, rows: Sequence[Row]) -> dict[str, int]:
        """Counts over the rows that came in; summed over shards into the manifest."""
        ...


@runtime_checkable
class FileStage(Stage, Protocol):
    """Needs all rows: sampling and balancing. Deterministic."""

    def run_all(self, rows: Iterable[Row]) -> Iterator[Row]:
        """All new rows."""
        ...


def complete(engine: Engine, requests: Sequence[Request]) -> list[str | None]:
    """The texts for `requests`, in order; None for one that the engine refuses for good (too long, not allowed).

    Raises:
        EngineError: some request failed in a way that may pass, or all of several were refused; then the engine is asked
            wrongly. Or the engine gave another number of completions.
    """
    completions = engine.complete(requests)
    if len(completions) != len(requests):
        name = engine.describe()
        raise EngineError(f"engine {name} gave {len(completions)} completions for {len(requests)} requests")
    failed = [completion for completion in completions if completion.error]
    if any(completion.may_pass for completion in failed) or len(failed) == len(requests) > 1:
        raise EngineError(
            f"{len(failed)} of {len(requests)} requests failed, the first with: {failed[0].error}; "
            "run again to go on, what was answered is kept"
        )
    if failed:
        _log.warning("%d of %d requests were refused, the first with: %s", len(failed), len(requests), failed[0].error)
    return [None if completion.error else completion.text for completion in completions]


def described(stage: Any) -> dict[str, Any]:
    """JSON data of a stage's settings; engines, embedders and the like describe themselves."""
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
