"""Answer queries, each with its Trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from threading import Event
from typing import Any

import torch

from vidweave.errors import QueryError
from vidweave.media.limits import Limits
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.cache import FeatureCache
from vidweave.model.frame_counts import FrameCounts
from vidweave.model.gather import route
from vidweave.model.prepared import Prepared
from vidweave.model.processor import Processor
from vidweave.pipelines.frame_selection.scenes import add_choices, as_selection, choose_prepared
from vidweave.pipelines.selecting import add_selection_panel, check_cancelled
from vidweave.pipelines.trace import Stopwatch, build_traces
from vidweave.types import (
    Answer,
    Embeds,
    FrameSelection,
    FrameSelector,
    ModelInputs,
    OptionScore,
    PrecomputedFeatures,
    Query,
    Selection,
    Trace,
)

__all__ = ["CallOptions", "ReadQueries", "answer_embeds", "answer_queries", "read_queries"]


@dataclass(frozen=True, kw_only=True)
class CallOptions:
    """How one call is answered.

    Attributes:
        num_frames: Frames to sample instead of the configured number; one number, or one for each stream.
        trace: False: none; True: bounded; "full": everything.
        normalize: Option scores are log-probabilities, `sum` over tokens or `mean` per token.
        limits: Limits on media, instead of the processor's.
        cancel: Set it from another thread to stop the call.
        selector: Chooses the frames of videos in place of the model's own selector.
        decoding: Arguments of `generate`; they apply to queries without options.
    """

    num_frames: FrameCounts | None = None
    trace: bool | str = True
    normalize: str = "sum"
    limits: Limits | None = None
    cancel: Event | None = None
    selector: FrameSelector | None = None
    decoding: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.trace not in (True, False, "full"):
            raise QueryError(f"trace must be True, False or 'full', got {self.trace!r}")

    def check_cancelled(self) -> None:
        """Raise CancelledError once `cancel` is set."""
        check_cancelled(self.cancel)


@torch.no_grad()
def answer_queries(
    model: VideoLanguageModel,
    processor: Processor,
    queries: Query | Sequence[Query],
    options: CallOptions,
    cache: FeatureCache | None = None,
) -> list[Answer]:
    """Answer `queries`: those that get the same modalities in one batch.

    Args:
        cache: Look-up of known features; new ones are stored.

    Raises:
        QueryError: no queries, something else among them, or decoding arguments where every query has options (they
            would do nothing).
        CancelledError: `options.cancel` was set meanwhile.
    """
    queries = [queries] if isinstance(queries, Query) else list(queries)
    strangers = [query for query in queries if not isinstance(query, Query)]
    if strangers:
        raise QueryError(
            f"expected queries, got {strangers[0]!r}; use ask(clip, question), or create one with Query.about"
        )
    if options.decoding and queries and all(query.options for query in queries):
        raise QueryError(f"{', '.join(sorted(options.decoding))} would do nothing: options are scored, not generated")
    answers: dict[int, Answer] = {}
    for batch in _batches(model, queries):
        result = _answer_batch(model, processor, [queries[i] for i in batch], options, cache)
        answers |= zip(batch, result, strict=True)
    return [answers[i] for i in range(len(queries))]


@dataclass(frozen=True, eq=False)
class ReadQueries:
    """Embedded queries: `embeds` for the language model, and data for their traces."""

    queries: list[Query]
    inputs: ModelInputs
    embeds: Embeds
    info: dict[str, Any]
    selection: Selection | None
    choices: dict[tuple[int, int], FrameSelection]
    energy: Any
    watch: Stopwatch


@torch.no_grad()
def read_queries(
    model: VideoLanguageModel,
    processor: Processor,
    queries: list[Query],
    options: CallOptions,
    cache: FeatureCache | None = None,
) -> ReadQueries:
    """Open media, select, decode, encode and read the prompts."""
    watch, cache = Stopwatch(model.device), None if cache is None else cache.with_own_counts()
    options.check_cancelled()
    with watch.stage("open"):
        arguments = {"num_frames": options.num_frames, "cache": cache, "limits": options.limits}
        prepared = processor.prepare(queries, has_motion=options.selector is None, **arguments)
    with prepared:
        with watch.stage("select"):
            choices, selection = _select(model, prepared, options)
        options.check_cancelled()
        with watch.stage("decode"):
            inputs = processor.fetch(prepared, selection, cache=cache)
    options.check_cancelled()
    with watch.stage("look"):
        embeds, info = model.embed(inputs)
    if cache is not None:
        cache.store.flush()
        info["cache"] = asdict(cache.counts)
    return ReadQueries(queries, inputs, embeds, info, selection, choices, prepared.energy, watch)


def _select(
    model: VideoLanguageModel, prepared: Prepared, options: CallOptions
) -> tuple[dict[tuple[int, int], FrameSelection], Selection | None]:
    """Choices of the frame selector, if there is one, and the timestamps to decode."""
    if options.selector is None:
        return {}, model.select(prepared)
    choices = choose_prepared(options.selector, prepared, limits=options.limits, cancel=options.cancel)
    return choices, as_selection(choices)


def _batches(model: VideoLanguageModel, queries: Sequence[Query]) -> list[list[int]]:
    """Split queries into batches in which each stream gets one modality, raw or as features. No query: one batch."""
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
    processor: Processor,
    queries: list[Query],
    options: CallOptions,
    cache: FeatureCache | None,
) -> list[Answer]:
    read = read_queries(model, processor, queries, options, cache)
    with read.watch.stage("answer"):
        answers = answer_embeds(model, processor, queries, read.embeds, options)
    if not options.trace:
        return answers
    return [
        replace(a, trace=t) for a, t in zip(answers, _traces(processor, read, options.trace == "full"), strict=True)
    ]


def answer_embeds(
    model: VideoLanguageModel, processor: Processor, queries: list[Query], embeds: Embeds, options: CallOptions
) -> list[Answer]:
    """Compute answers without a trace from embedded prompts: score options, generate other answers."""
    answers: list[Answer | None] = [None] * len(queries)
    choosing = [i for i, query in enumerate(queries) if query.options]
    writing = [i for i, query in enumerate(queries) if not query.options]
    options.check_cancelled()
    if choosing:
        prefix = model.language_model.prefill(embeds.rows(choosing))
        chosen = [queries[i] for i in choosing]
        scores = model.language_model.score(prefix, processor.option_ids(chosen), normalize=options.normalize)
        for i, query, row in zip(choosing, chosen, scores, strict=True):
            ranked = sorted(zip(query.options, row, strict=True), key=lambda pair: -pair[1])
            answers[i] = Answer(ranked[0][0], tuple(OptionScore(text, score) for text, score in ranked))
    if writing:
        decoding = model.decoding(options.decoding)
        ids = model.language_model.generate(embeds.rows(writing), cancel=options.cancel, **decoding)
        options.check_cancelled()
        texts = processor.decode(ids)
        per_query = len(texts) // len(writing)
        for n, i in enumerate(writing):
            first, *rest = texts[n * per_query : (n + 1) * per_query]
            answers[i] = Answer(first, alternatives=tuple(rest))
    return [a for a in answers if a is not None]


def _traces(processor: Processor, read: ReadQueries, full: bool) -> list[Trace]:
    inputs, info = read.inputs, dict(read.info)
    tokens = _count_tokens(inputs, info.pop("tokens_by_item"))
    traces = build_traces(read.queries, inputs.provenance, tokens, read.watch.seconds, info, full=full)
    for item, note in inputs.plan.notes:
        traces[item].notes.append(note)
    if read.choices:
        add_choices(traces, read.queries, read.choices)
    else:
        add_selection_panel(traces, read.queries, read.selection, read.energy)
    for item, prompt in enumerate(processor.prompts(inputs.plan)):
        traces[item].panels["prompt"] = prompt
    return traces


def _count_tokens(inputs: ModelInputs, by_item: list[dict[str, int]]) -> list[dict[str, int]]:
    text = (inputs.plan.ids >= 0).sum(1).tolist()
    return [{**counts, "text": int(n)} for counts, n in zip(by_item, text, strict=True)]
