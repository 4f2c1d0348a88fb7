"""How SeViLA asks multiple choice: prompt, target, localizer's question, clip and file name of one annotation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from vidweave.errors import AnnotationError

__all__ = ["SevilaPrompt", "sevila_prompt"]

_ANSWER = "Considering the information presented in the frame, select the correct answer from the options."
_LOCALIZE = "Does the information within the frame provide the necessary details to "
_NEXT_EVENT = "Upon observing the provided frames, what is the most probable subsequent event?"


@dataclass(frozen=True, kw_only=True)
class SevilaPrompt:
    """One question as SeViLA shows it to its answerer and its localizer.

    Attributes:
        answer_input: Prompt of the answerer.
        answer_output: `Option <letter>`.
        localizer_input: Prompt of the localizer, asked of every frame.
        clip: Seconds (start, end); None for the whole video.
        file: Name of the video file.
    """

    answer_input: str
    answer_output: str
    localizer_input: str
    clip: tuple[float, float] | None
    file: str


def sevila_prompt(annotation: Mapping[str, Any]) -> SevilaPrompt:
    """Build the prompts of one object in SeViLA's common form.

    Video-language event prediction (question ids that begin with VLEP) has a prompt of its own and no question; the
    original stops there unless a `question` is added. Its TV clips are named without the last three characters (`_ep`),
    those of YouTube, which have a colon, in full.

    Raises:
        AnnotationError: a field is missing or holds what it must not.
    """
    try:
        options = [str(annotation[f"a{index}"]) for index in range(int(annotation["num_option"]))]
        is_vlep, video = str(annotation["qid"]).startswith("VLEP"), str(annotation["video"])
        prompts = _next_event(options) if is_vlep else _choice(str(annotation["question"]), options)
        return SevilaPrompt(
            answer_input=prompts[0],
            answer_output=f"Option {ascii_uppercase[: len(options)][int(annotation['answer'])]}",
            localizer_input=prompts[1],
            clip=_clip(annotation),
            file=f"{video[:-3] if is_vlep and ':' not in video else video}.mp4",
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else f"cannot be read ({error})"
        raise AnnotationError(
            f"annotation {annotation.get('qid', '?')!r} {what}; expected SeViLA's form: qid, video, question, "
            "num_option, a0, a1, …, answer, and start and end for a clip"
        ) from error


def _choice(question: str, options: list[str]) -> tuple[str, str]:
    listed = "".join(f"{option} " for option in options)
    return (
        f"Question: {question} {_lettered(options)} {_ANSWER}",
        f"Question: {question} Options: ({listed}) {_LOCALIZE}accurately answer the given question?",
    )


def _next_event(options: list[str]) -> tuple[str, str]:
    asked = f"{_NEXT_EVENT} {_lettered(options)}"
    return asked, f"{asked} {_LOCALIZE}predict next event?"


def _lettered(options: list[str]) -> str:
    return " ".join(f"Option {letter}: {option}" for letter, option in zip(ascii_uppercase, options, strict=False))


def _clip(annotation: Mapping[str, Any]) -> tuple[float, float] | None:
    if "start" not in annotation:
        return None
    start, end = float(annotation["start"]), float(annotation["end"])
    if not 0 <= start < end < math.inf:
        raise ValueError(f"start and end must be finite, 0 <= start < end, got {start:g} and {end:g}")
    return start, end
