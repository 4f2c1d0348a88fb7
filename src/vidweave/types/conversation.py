"""A conversation about one clip, or without media: questions with answers, as a pure value."""

from __future__ import annotations

from dataclasses import dataclass

from vidweave.errors import QueryError
from vidweave.types.query import Clip

__all__ = ["Conversation"]


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Questions with answers, in order, about one clip.

    Attributes:
        turns: (question, answer) in order, at least one.
        clip: The clip that the conversation is about; None for a conversation without media.
        id: Unique within its source; may be empty.

    Raises:
        QueryError: there is no turn.
    """

    turns: tuple[tuple[str, str], ...]
    clip: Clip | None = None
    id: str = ""

    def __post_init__(self) -> None:
        if not self.turns:
            raise QueryError(f"the conversation {self.id!r} has no question with an answer")

    @property
    def answer(self) -> str:
        """The last answer."""
        return self.turns[-1][1]

    @property
    def modality(self) -> str | None:
        """First modality of the clip; None without a clip."""
        return None if self.clip is None else next(iter(self.clip))
