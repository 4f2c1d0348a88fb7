"""Frame selectors in front of a whole pipeline: from a clip and a question to timestamps, as plain values.

They differ from the selector slot of our own models (`protocols.Selector`, tensors in, tensors out): a frame selector
opens the file itself, so every pipeline can use it, with any model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from vidweave.errors import QueryError
from vidweave.types.summary import Summarized

if TYPE_CHECKING:
    from threading import Event

    from vidweave.types.query import Clip

__all__ = ["FrameSelection", "FrameSelector", "ScoredSpan"]


@dataclass(frozen=True, kw_only=True)
class ScoredSpan:
    """Span of a clip, predicted by a frame selector.

    Attributes:
        start, end: Seconds of the file.
        score: Its score, on the selector's own scale; None if there is none.
    """

    start: float
    end: float
    score: float | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class FrameSelection(Summarized):
    """Timestamps selected by a frame selector from one clip for one question.

    Attributes:
        seconds: Selected timestamps, ascending, in seconds of the file: each is the time of a frame inside the clip's
            span.
        indices: Their frames in the file; empty where the selector knows times alone.
        reason: Reason for the selection: the selector's name, or `uniform` if it left the choice to uniform sampling.
        scores: One score per timestamp, on the selector's own scale; empty if there are none.
        spans: Relevant spans, best first.
        curve: Score over time, as pairs (seconds, score), ascending in time; empty if there is none.
        notes: Notes for the user, for the Trace.
        costs: Costs of the selection: counts (`frames_scored`, `frames_decoded`, …), `seconds` of wall time, and
            `seconds_per_hour` of video.

    Raises:
        QueryError: timestamps that are not ascending, or another number of scores or indices.
    """

    seconds: tuple[float, ...]
    reason: str
    indices: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()
    spans: tuple[ScoredSpan, ...] = ()
    curve: tuple[tuple[float, float], ...] = ()
    notes: tuple[str, ...] = ()
    costs: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if list(self.seconds) != sorted(self.seconds):
            raise QueryError(f"the timestamps of a selection must be ascending, got {self.seconds}")
        if self.scores and len(self.scores) != len(self.seconds):
            raise QueryError(
                f"a selection of {len(self.seconds)} timestamps has {len(self.scores)} scores; give one each"
            )

    @property
    def is_uniform(self) -> bool:
        """Whether the selector left the choice to uniform sampling; a pipeline may then use its own uniform rule."""
        return self.reason == "uniform"


@runtime_checkable
class FrameSelector(Protocol):
    """Select timestamps of a clip before a pipeline decodes any frame for its model.

    A pipeline takes one as `selector=` and calls `select` once per scene that has a `video`::

        chosen = self.selector.select(scene.clip, query.text, num_frames=k, limits=limits, cancel=cancel)
        times = np.asarray(chosen.seconds)      # decode the frames at these times, in this order
        why = chosen.reason                     # FrameUse.why in the Trace
        trace.notes.extend(chosen.notes)
        trace.panels["selection"] = ...         # pipelines.frame_selection.selection_panel({label: chosen})

    `pipelines.frame_selection.frame_selector(given)` converts a user's `selector=` (None, a selector, or a name such as
    `similarity:FOLDER`) to one. Selectors keep no state between calls, so threads may share one.
    """

    @property
    def name(self) -> str:
        """Its name on the command line, e.g. `similarity`."""
        ...

    def select(
        self,
        clip: Clip,
        question: str,
        *,
        num_frames: int,
        options: Sequence[str] = (),
        limits: Any = None,
        cancel: Event | None = None,
    ) -> FrameSelection:
        """Choose `num_frames` timestamps of the clip's video for a question.

        Args:
            clip: Its `video` and its span are used; other modalities are ignored.
            options: Answers to choose from, for selectors that read them.
            limits: Limits on media (`vidweave.media.limits.Limits`).
            cancel: Set it from another thread to stop the call.

        Raises:
            ModalityError: the clip has no video.
            MediaError: the video cannot be read, or has fewer frames than `num_frames`.
            CancelledError: `cancel` was set.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return name, settings and fingerprint of the weights, for the manifest of a run."""
        ...

    def close(self) -> None:
        """Write pending features; may be called again."""
        ...
