"""Queries in, answers out: the whole road, with its account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vidweave.errors import QueryError
from vidweave.model.frame_counts import FrameCounts
from vidweave.model.gather import route
from vidweave.model.selecting import tell_selection
from vidweave.model.trace import build_traces
from vidweave.types import Answer, Clip, ModelInputs, OptionScore, PrecomputedFeatures, PromptPlan, Query

if TYPE_CHECKING:
    from vidweave.model.assembly import VideoLanguageModel

__all__ = ["answer", "answer_embeds", "as_clip"]


def as_clip(clip: Clip | str | Path, start_seconds: float | None, end_seconds: float | None) -> Clip:
    """A clip with the given span; borders that the clip already has are kept where none is given."""
    if isinstance(clip, (str, Path)):
        return Clip(clip, start_seconds=start_seconds, end_seconds=end_seconds)
    given = {"start_seconds": start_seconds, "end_seconds": end_seconds}
    return Clip(**clip, **clip.settings | {name: value for name, value in given.items() if value is not None})


@torch.no_grad()
def answer(
    model: VideoLanguageModel,
    queries: Query | Sequence[Query],
    *,
    num_frames: FrameCounts | None = None,
    trace: bool | str = True,
    normalize: str = "sum",
    **decoding: Any,
) -> list[Answer]:
    """Answer `queries`: those whose streams are fed alike in one batch.

    Args:
        trace: False: none; True: bounded; "full": everything.
        normalize: Option scores are log-probabilities, `sum` over tokens or `mean` per token.
        decoding: Arguments of `generate`; they apply to queries without options.

    Raises:
        QueryError: no queries, something else among them, an unknown kind of trace, or decoding arguments where every
            query has options (they would do nothing).
    """
    queries = [queries] if isinstance(queries, Query) else list(queries)
    strangers = [query for query in queries if not isinstance(query, Query)]
    if strangers:
        raise QueryError(f"expected queries, got {strangers[0]!r}; use ask(clip, question), or Query.about to make one")
    if trace not in (True, False, "full"):
        raise QueryError(f"trace must be True, False or 'full', got {trace!r}")
    if decoding and queries and all(query.options for query in queries):
        raise QueryError(f"{', '.join(sorted(decoding))} would do nothing: options are scored, not generated")
    answers: dict[int, Answer] = {}
    for batch in _batches(model, queries):
        found = _answer_batch(model, [queries[i] for i in batch], num_frames, trace, normalize, decoding)
        answers |= zip(batch, found, strict=True)
    return [answers[i] for i in range(len(queries))]


def _batches(model: VideoLanguageModel, queries: Sequence[Query]) -> list[list[int]]:
    """Queries that can stand in one batch: each stream gets one modality, raw or as features. No query: one batch."""
    batches: dict[Any, list[int]] = {}
    for i, query in enumerate(queries):
        fed = []
        for stream in model.spec.streams.values():
            routes = ((route(stream, scene.clip), scene.clip) for scene in query.scenes)
            fed.append(frozenset((m, isinstance(clip[m], PrecomputedFeatures)) for m, clip in routes if m))
        batches.setdefault(tuple(fed), []).append(i)
    return list(batches.values()) or [[]]


def _answer_batch(
    model: VideoLanguageModel,
    queries: list[Query],
    num_frames: FrameCounts | None,
    trace: bool | str,
    normalize: str,
    decoding: dict[str, Any],
) -> list[Answer]:
    watch = model.new_stopwatch()
    cache = model.cache
    with watch.stage("open"):
        prepared = model.processor.prepare(queries, num_frames=num_frames, cache=cache)
    with prepared:
        with watch.stage("select"):
            selection = model.select(prepared)
        with watch.stage("decode"):
            inputs = model.processor.fetch(prepared, selection, cache=cache)
    with watch.stage("look"):
        embeds, info = model.embed(inputs)
    with watch.stage("answer"):
        answers = answer_embeds(model, queries, embeds, normalize, decoding)
    if cache is not None:
        cache.store.flush()
    if not trace:
        return answers
    if cache is not None:
        info["cache"] = asdict(cache.counts)
    tokens = _count_tokens(inputs, info.pop("tokens_by_item"))
    traces = build_traces(queries, inputs.provenance, tokens, watch.seconds, info, full=trace == "full")
    for item, note in inputs.plan.notes:
        traces[item].notes.append(note)
    tell_selection(traces, queries, selection, prepared.energy)
    for item, prompt in enumerate(_prompts(model, inputs.plan)):
        traces[item].panels["prompt"] = prompt
    return [replace(a, trace=t) for a, t in zip(answers, traces, strict=True)]


def answer_embeds(
    model: VideoLanguageModel, queries: list[Query], embeds: Any, normalize: str, decoding: dict[str, Any]
) -> list[Answer]:
    """Answers without a trace from embedded prompts: options are scored, the others generated."""
    answers: list[Answer | None] = [None] * len(queries)
    choosing = [i for i, query in enumerate(queries) if query.options]
    writing = [i for i, query in enumerate(queries) if not query.options]
    if choosing:
        prefix = model.language_model.prefill(embeds.rows(choosing))
        chosen = [queries[i] for i in choosing]
        scores = model.language_model.score(prefix, model.processor.option_ids(chosen), normalize=normalize)
        for i, query, row in zip(choosing, chosen, scores, strict=True):
            ranked = sorted(zip(query.options, row, strict=True), key=lambda pair: -pair[1])
            answers[i] = Answer(ranked[0][0], tuple(OptionScore(text, score) for text, score in ranked))
    if writing:
        ids = model.language_model.generate(embeds.rows(writing), **{**model.spec.decoding, **decoding})
        texts = model.processor.decode(ids)
        per_query = len(texts) // len(writing)
        for n, i in enumerate(writing):
            first, *rest = texts[n * per_query : (n + 1) * per_query]
            answers[i] = Answer(first, alternatives=tuple(rest))
    return [a for a in answers if a is not None]


def _prompts(model: VideoLanguageModel, plan: PromptPlan) -> list[str]:
    """The prompts as text, a block standing as its name in angle brackets."""
    tokenizer = model.processor.tokenizers["language"]
    prompts = []
    for ids, slots in zip(plan.ids.tolist(), plan.slot.tolist(), strict=True):
        runs = groupby(zip(ids, slots, strict=True), key=lambda pair: pair[1])
        parts = [
            f"<{plan.slots[slot][0]}>" if slot >= 0 else str(tokenizer.decode([i for i, _ in run if i >= 0]))
            for slot, run in runs
        ]
        prompts.append("".join(parts))
    return prompts


def _count_tokens(inputs: ModelInputs, by_item: list[dict[str, int]]) -> list[dict[str, int]]:
    text = (inputs.plan.ids >= 0).sum(1).tolist()
    return [{**counts, "text": int(n)} for counts, n in zip(by_item, text, strict=True)]
