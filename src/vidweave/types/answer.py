"""Results of a query: the answer, and the Trace of how it was computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any

from vidweave.errors import NonFiniteError
from vidweave.types.summary import Summarized

__all__ = ["Answer", "FrameUse", "OptionScore", "PanelSource", "Trace"]


@dataclass(frozen=True, repr=False)
class OptionScore(Summarized):
    """An answer option and its score: log-probability of its tokens, summed (`mean`: per token, if requested).

    Raises:
        NonFiniteError: the score is NaN or infinite.
    """

    text: str
    score: float

    def __post_init__(self) -> None:
        if not isfinite(self.score):
            raise NonFiniteError(
                f"the score of option {self.text!r} is {self.score}; check the model's weights and dtype"
            )


@dataclass(frozen=True, repr=False)
class FrameUse(Summarized):
    """A frame that was used: its index and time, its stream and scene, and why it was chosen."""

    index: int
    pts_seconds: float
    stream: str = "video"
    scene: str = ""
    why: str = "uniform"


@dataclass(frozen=True, repr=False)
class PanelSource(Summarized):
    """Panel that is built only when a Trace needs it, one per item of a batch.

    `make(item, full)` returns JSON data: bounded in size, or everything if `full`.
    """

    make: Callable[[int, bool], Any]


@dataclass(repr=False)
class Trace(Summarized):
    """Account of how an answer was computed; bounded in size unless the full Trace is requested.

    Attributes:
        frames: Frames used and why.
        tokens: Language-model tokens per stream or block, and of the text (`text`).
        seconds: Wall time per stage (`decode`, `select`, `encode`, `connect`, `answer`).
        notes: Warnings for the user: lost frames, capped windows, approximations.
        panels: Information from each part, by name (gates, encoder weights, memory, spans).
    """

    frames: list[FrameUse] = field(default_factory=list)
    tokens: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    panels: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return asdict(self)


@dataclass(frozen=True, repr=False)
class Answer(Summarized):
    """The answer to one query: the text, the scores of the options if there were any (best first), and the trace.

    `alternatives` are further texts where several sequences were requested, best first.
    """

    text: str
    options: tuple[OptionScore, ...] = ()
    trace: Trace | None = None
    alternatives: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON data: ``{"text", "options": [{"text", "score"}], "trace"}``."""
        options = [asdict(option) for option in self.options]
        data = {"text": self.text, "options": options, "trace": self.trace.to_dict() if self.trace else None}
        return {**data, "alternatives": list(self.alternatives)} if self.alternatives else data
