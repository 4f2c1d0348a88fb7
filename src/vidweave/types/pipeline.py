"""The protocol of a pipeline, which `vidweave.load` returns for every kind of model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, overload, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path
    from threading import Event

    from vidweave.types.answer import Answer, OptionScore
    from vidweave.types.query import Clip, Query

__all__ = ["Pipeline"]


@runtime_checkable
class Pipeline(Protocol):
    """Answers questions about files.

    Three kinds are planned behind it: models of our four slots, whole vision-language models, and endpoints. A kind that
    cannot do one of these raises a typed error in one line: `NotStreamableError` for `stream`, `ConfigError` for the
    others (an endpoint has no weights to move or save). Threads may share a pipeline; `limits`, options and `cancel`
    belong to one call, and so do the counters in its Trace.
    """

    @property
    def config(self) -> Any:
        """The configuration of the model, with its `name`."""
        ...

    @property
    def device(self) -> Any:
        """Device of the weights; None where there are none (endpoints)."""
        ...

    @property
    def dtype(self) -> Any:
        """Dtype of the weights; None where there are none."""
        ...

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the weights to a device or dtype, as `torch.nn.Module.to` does."""
        ...

    # `ask` is overloaded, so that a type checker can tell which of the two it returns.
    @overload
    def ask(
        self, clip: Clip | str | Path, question: str, *, stream: Literal[False] = ..., **options: Any
    ) -> Answer: ...

    @overload
    def ask(
        self, clip: Clip | str | Path, question: str, *, stream: Literal[True], **options: Any
    ) -> Iterator[str]: ...

    def ask(
        self, clip: Clip | str | Path, question: str, *, stream: bool = False, **options: Any
    ) -> Answer | Iterator[str]:
        """Ask one question about one clip; with `stream`, yield the answer piece by piece."""
        ...

    def answer(self, queries: Query | Sequence[Query], *, cancel: Event | None = None, **options: Any) -> list[Answer]:
        """Return one answer per query, in order."""
        ...

    def score(self, queries: Query | Sequence[Query], **options: Any) -> list[tuple[OptionScore, ...]]:
        """Score the options of each query, best first."""
        ...

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        options: Sequence[str] = (),
        stream: bool = False,
        **arguments: Any,
    ) -> Answer | Iterator[str]:
        """Answer the last message of a conversation in transformers' message form."""
        ...

    def select(
        self,
        clip: Clip | str | Path,
        question: str,
        *,
        num_frames: int,
        limits: Any = None,
        cancel: Event | None = None,
    ) -> dict[str, Any]:
        """Select the timestamps of `clip` that the question is about, without answering it."""
        ...

    def stream(self, question: str | Sequence[str] | None = None, *, limits: Any = None) -> Any:
        """Open a live stream that is pushed piece by piece and can answer questions at any time; `limits` are `vidweave.media.limits.Limits`."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return name, fingerprints of weights and settings, and dtype, for the manifest of a run."""
        ...

    def save_pretrained(self, folder: str | Path, **options: Any) -> None:
        """Write everything into `folder`, from which `vidweave.load` reads it."""
        ...

    def push_to_hub(self, repo_id: str, **options: Any) -> Any:
        """Upload what `save_pretrained` writes."""
        ...

    def close(self) -> None:
        """Write pending data, and release files and connections; may be called again."""
        ...
