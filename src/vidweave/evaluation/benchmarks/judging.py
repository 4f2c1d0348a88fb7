"""Judge open answers with a language model: cached, parsed strictly, with the published aggregates alongside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256

from vidweave.engines import Engine, Request, Sampling
from vidweave.errors import EngineError
from vidweave.evaluation.benchmarks.outcome import Outcome
from vidweave.evaluation.benchmarks.scoring import Values, is_strictly_right
from vidweave.evaluation.judge import MAX_TOKENS, judge_messages
from vidweave.evaluation.judge_replies import (
    REPLY_PARSERS,
    JudgeReply,
    strict_reply,
    summarize_replies,
    summarize_video_llava,
    video_llava_reply,
)

__all__ = ["judge_outcomes", "judge_prompt_hash"]

_PUBLISHED = ("video-llava", "merv", "lmms-eval")


def judge_prompt_hash() -> str:
    """Return the hash of the judge's prompt, for the manifest."""
    return sha256(json.dumps(judge_messages("{q}", "{a}", "{p}")).encode()).hexdigest()[:16]


def judge_outcomes(engine: Engine, outcomes: Sequence[Outcome]) -> list[Values]:
    """Compute the judge's accuracy and score by strict parsing, and as counted by three published implementations.

    A question without a reply is wrong with 0 points and is not judged. Use a `CachedEngine`, so that a repeated run
    does not query the judge again.

    Raises:
        EngineError: the judge could not be reached for some questions; finished judgments stay in the cache.
    """
    asked = [o for o in outcomes if o.reply is not None]
    replies = _ask(engine, asked)
    strict = {o.example.id: strict_reply(replies[o.example.id]) for o in asked}
    missing = JudgeReply(word="no", score=0.0)
    summary = summarize_replies([strict.get(o.example.id, missing) for o in outcomes])
    agree = [is_strictly_right(o) == (strict[o.example.id].word == "yes") for o in asked]
    exact = sum(is_strictly_right(o) for o in outcomes) / max(len(outcomes), 1)
    values = {**summary, "exact_match": exact, "agreement": sum(agree) / len(agree) if agree else None}
    note = f"judge {engine.describe().get('model')}, prompt {judge_prompt_hash()}; fractions, score 0 to 5"
    return [
        Values(scorer="judge-strict", values=_numbers(values), note=note),
        *(_as_published(name, list(replies.values())) for name in _PUBLISHED),
    ]


def _ask(engine: Engine, outcomes: Sequence[Outcome]) -> dict[str, str]:
    sampling = Sampling(temperature=0.0, max_tokens=MAX_TOKENS)
    requests = [
        Request(prompt=tuple(judge_messages(o.example.query.text, o.example.answer, str(o.reply))), sampling=sampling)
        for o in outcomes
    ]
    completions = engine.complete(requests) if requests else []
    failed = [c for c in completions if c.error and c.may_pass]
    if failed:
        raise EngineError(
            f"the judge could not be asked about {len(failed)} of {len(requests)} answers ({failed[0].error}); run the "
            "same command again, finished judgments are kept beside the predictions"
        )
    return {o.example.id: c.text for o, c in zip(outcomes, completions, strict=True)}


def _as_published(name: str, replies: Sequence[str]) -> Values:
    if name == "video-llava":
        summary = summarize_video_llava([video_llava_reply(reply) for reply in replies])
        defects: tuple[str, ...] = (
            "a reply that is neither yes nor no is excluded from the denominator of the accuracy only",
        )
    else:
        summary = summarize_replies([REPLY_PARSERS[name](reply) for reply in replies])
        defects = ('"yes" anywhere in the judge\'s word counts as yes, also in "not yes" and "eyes"',)
    return Values(scorer=f"judge-{name}", values=_numbers(summary), note="answered questions alone", defects=defects)


def _numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if value is not None}
