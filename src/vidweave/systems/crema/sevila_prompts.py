"""SeViLA's multiple-choice prompts: those of its answerer and its localizer, the target and the video file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, Self

from vidweave.errors import AnnotationError

__all__ = ["SevilaQuestion"]

_ANSWER = "Considering the information presented in the frame, select the correct answer from the options."
_LOCALIZE = "Does the information within the frame provide the necessary details to"
_NEXT_EVENT = "Upon observing the provided frames, what is the most probable subsequent event?"


@dataclass(frozen=True, kw_only=True)
class SevilaQuestion:
    """One question in SeViLA's common form.

    Attributes:
        text: The question; None for VLEP, which has a fixed one.
        answer: Position of the right option.
        video: Name of the video, for VLEP with its suffix `_ep`.
        clip: Seconds (start, end); None for the whole video.
    """

    text: str | None
    options: tuple[str, ...]
    answer: int
    video: str
    clip: tuple[float, float] | None

    @classmethod
    def of(cls, annotation: Mapping[str, Any]) -> Self:
        """Read one object of an annotation file. Question ids of VLEP begin with VLEP.

        Raises:
            AnnotationError: a field is missing or invalid.
        """
        try:
            options = tuple(str(annotation[f"a{index}"]) for index in range(int(annotation["num_option"])))
            answer, is_vlep = int(annotation["answer"]), str(annotation["qid"]).startswith("VLEP")
            if not 0 <= answer < len(options) <= len(ascii_uppercase):
                raise ValueError(f"answer {answer} is not one of {len(options)} options, counted from 0")
            return cls(
                text=None if is_vlep else str(annotation["question"]),
                options=options,
                answer=answer,
                video=str(annotation["video"]),
                clip=_clip(annotation),
            )
        except (KeyError, TypeError, ValueError) as error:
            problem = f"lacks {error}" if isinstance(error, KeyError) else f"cannot be read ({error})"
            raise AnnotationError(
                f"annotation {annotation.get('qid', '?')!r} {problem}; expected SeViLA's form: qid, video, question, "
                "num_option, a0, a1, …, answer, and start and end for a clip"
            ) from error

    def answer_prompt(self) -> str:
        """Return the prompt of the answerer."""
        if self.text is None:
            return f"{_NEXT_EVENT} {self._lettered()}"
        return f"Question: {self.text} {self._lettered()} {_ANSWER}"

    def target(self) -> str:
        """Return the target answer: `Option <letter>`."""
        return f"Option {ascii_uppercase[self.answer]}"

    def localizer_prompt(self) -> str:
        """Return the prompt of the localizer for every frame."""
        if self.text is None:
            return f"{self.answer_prompt()} {_LOCALIZE} predict next event?"
        listed = "".join(f"{option} " for option in self.options)
        return f"Question: {self.text} Options: ({listed}) {_LOCALIZE} accurately answer the given question?"

    def file(self) -> str:
        """Return the name of the video file.

        VLEP's TV clips omit the last three characters of the name (`_ep`); those of YouTube, which have a colon, do
        not.
        """
        is_tv = self.text is None and ":" not in self.video
        return f"{self.video[:-3] if is_tv else self.video}.mp4"

    def _lettered(self) -> str:
        return " ".join(
            f"Option {letter}: {option}" for letter, option in zip(ascii_uppercase, self.options, strict=False)
        )


def _clip(annotation: Mapping[str, Any]) -> tuple[float, float] | None:
    if "start" not in annotation:
        return None
    start, end = float(annotation["start"]), float(annotation["end"])
    if not 0 <= start < end < math.inf:
        raise ValueError(f"start and end must be finite, with 0 <= start < end, got {start:g} and {end:g}")
    return start, end
