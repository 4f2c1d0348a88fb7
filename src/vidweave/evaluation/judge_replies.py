"""Parse a judge's reply: strictly with a third state "unparsed", and by the rules of published implementations.

No code in a reply is executed. The protocol's prompts are in `evaluation.judge`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vidweave.evaluation.judge import REFUSED, parse_verdict, read_literal

__all__ = [
    "REPLY_PARSERS",
    "JudgeReply",
    "Word",
    "lmms_eval_reply",
    "lmms_eval_score",
    "merv_reply",
    "strict_reply",
    "summarize_replies",
    "summarize_video_llava",
    "video_llava_reply",
]

Word = Literal["yes", "no", "neither", "unparsed"]
MOST_POINTS = 5
_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)
_TRIED = 20_000  # characters of a reply that the strict parser searches


@dataclass(frozen=True, kw_only=True)
class JudgeReply:
    """Judgment as parsed by one implementation.

    Attributes:
        word: "neither" for a judgment without yes or no; "unparsed" for a reply that cannot be parsed.
        score: Score; None if there is none.
        pred: The judge's word as written; empty if it has none.
    """

    word: Word
    score: float | None
    pred: str = ""


UNPARSED = JudgeReply(word="unparsed", score=None)


def strict_reply(reply: str | None) -> JudgeReply:
    """Parse a reply with exactly one judgment; anything else is "unparsed".

    A judgment is a JSON object or a Python dictionary, alone or inside prose or a code fence, whose `pred` is yes or no
    (in any case, with or without a period, or a boolean) and whose `score` is a number from 0 to 5. Two different
    judgments are "unparsed".
    """
    judgments = {_judgment(fields) for fields in _objects(reply or "")}
    return judgments.pop() if len(judgments) == 1 else UNPARSED


def _objects(text: str) -> Iterable[Mapping[str, Any]]:
    """Yield the flat JSON objects and Python dictionaries in a text."""
    for match in re.finditer(r"\{[^{}]*\}", text[:_TRIED]):
        for read in (json.loads, read_literal):
            try:
                fields = read(match[0])
            except _ERRORS:
                continue
            if isinstance(fields, dict):
                yield fields
                break


def _judgment(fields: Mapping[str, Any]) -> JudgeReply:
    pred, score = fields.get("pred"), fields.get("score")
    word = {True: "yes", False: "no"}[pred] if isinstance(pred, bool) else str(pred).strip().rstrip(".").lower()
    try:
        points = math.nan if isinstance(score, bool) else float(score)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        points = math.nan
    if word not in ("yes", "no") or not 0 <= points <= MOST_POINTS:
        return UNPARSED
    return JudgeReply(word="yes" if word == "yes" else "no", score=points, pred=word)


def video_llava_reply(reply: str | None) -> JudgeReply:
    """Parse a reply as Video-ChatGPT, Video-LLaVA and VideoTGB do: the whole reply is a Python literal.

    "yes" anywhere in `pred` is yes ("not yes", "eyes"), else "no" anywhere is no ("none", "know"). Scores are
    truncated; any integer is accepted. A literal without a score, or whose `pred` is not a string, is "neither". The
    originals retry an unparsed reply forever.
    """
    try:
        fields = read_literal(reply)
    except _ERRORS:
        return UNPARSED
    try:
        score = int(fields["score"])
    except _ERRORS:
        return JudgeReply(word="neither", score=None)
    try:
        return _with_substring(fields["pred"], score)
    except _ERRORS:
        return JudgeReply(word="neither", score=score)


def merv_reply(reply: str | None) -> JudgeReply:
    """Parse a reply as MERV does: a literal dictionary with both keys, else "no" with 0 points; never "unparsed"."""
    verdict = parse_verdict(reply)
    word: Word = "yes" if verdict.is_right else "no"
    return JudgeReply(word=word, score=verdict.score, pred="" if verdict is REFUSED else verdict.pred)


def lmms_eval_reply(reply: str | None) -> JudgeReply:
    """Parse a reply as lmms-eval's ActivityNet-QA does: a dictionary between the first "{" and the next brace.

    The substring rule is Video-LLaVA's. lmms-eval counts an unparsed reply as "no" with 0 points.
    """
    try:
        inside = re.split(r"[{}]", (reply or "").split("{")[1])[0]
        fields = read_literal("{" + inside + "}")
        return _with_substring(fields["pred"], int(fields["score"]))
    except _ERRORS:
        return UNPARSED


def lmms_eval_score(reply: str | None) -> int:
    """Return the points as lmms-eval's Video-ChatGPT tasks do: the `score` of a literal dictionary, else 0."""
    try:
        return int(read_literal(reply).get("score", 0))
    except _ERRORS:
        return 0


def _with_substring(pred: str, score: float) -> JudgeReply:
    lowered = pred.lower()
    word: Word = "yes" if "yes" in lowered else "no" if "no" in lowered else "neither"
    return JudgeReply(word=word, score=score, pred=pred)


# Implementation → its parser
REPLY_PARSERS: Mapping[str, Callable[[str | None], JudgeReply]] = {
    "vidweave": strict_reply,
    "video-llava": video_llava_reply,
    "merv": merv_reply,
    "lmms-eval": lmms_eval_reply,
}


def summarize_replies(replies: Iterable[JudgeReply]) -> dict[str, float | None]:
    """Return counts per state, and accuracy and mean score with both denominators.

    `accuracy` and `score` are over all questions, where an unparsed reply is wrong with 0 points; `accuracy_parsed` and
    `score_parsed` are over the parsed replies. None if the denominator is zero.
    """
    made = list(replies)
    count = {f"num_{word}": float(sum(reply.word == word for reply in made)) for word in ("yes", "no", "neither")}
    parsed = [reply for reply in made if reply.word != "unparsed"]
    points = sum(reply.score or 0.0 for reply in parsed)
    return {
        **count,
        "num_unparsed": float(len(made) - len(parsed)),
        "accuracy": _share(count["num_yes"], len(made)),
        "score": _share(points, len(made)),
        "accuracy_parsed": _share(count["num_yes"], len(parsed)),
        "score_parsed": _share(points, len(parsed)),
    }


def summarize_video_llava(replies: Sequence[JudgeReply]) -> dict[str, float | None]:
    """Aggregate as Video-LLaVA's script does; its defect: "neither" is excluded from the accuracy's denominator only.

    `count`, the denominator of the score, includes every parsed reply, even without a score. None where the script
    divides by zero.
    """
    parsed = [reply for reply in replies if reply.word != "unparsed"]
    yes, no = (sum(reply.word == word for reply in parsed) for word in ("yes", "no"))
    score_sum = sum(reply.score or 0 for reply in parsed)
    return {
        "yes_count": yes,
        "no_count": no,
        "count": len(parsed),
        "score_sum": score_sum,
        "average_score": _share(score_sum, len(parsed)),
        "accuracy": _share(yes, yes + no),
    }


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
