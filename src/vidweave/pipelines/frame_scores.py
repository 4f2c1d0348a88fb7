"""Score each frame of a clip by how well it alone answers a question: the basis of pseudo labels."""

# Axes: T candidate frames, b frames of a batch, N tokens, C width, Q questions

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidweave.connectors.segments import counts_of
from vidweave.errors import ConfigError, ModalityError
from vidweave.media.plan import spread
from vidweave.pipelines.slot import SlotPipeline
from vidweave.types import Clip, Embeds, Features, FrameNeed, Query, Selection

__all__ = ["FrameScorer", "SingleFrames"]


@dataclass(frozen=True, eq=False)
class SingleFrames:
    """Encoded candidate frames.

    Attributes:
        seconds: (T,) when each is shown.
        features: Stream → (T, 1, N, C): one row per frame.
    """

    seconds: np.ndarray
    features: Mapping[str, Features]


class FrameScorer:
    """Score single frames with a base model, batched; no gradient.

    Args:
        pipe: The base model.
        num_candidates: Frames per clip, at the midpoints of equal parts (the paper: 32).
        measure: ``(correct answer, generated answer) -> 0..1``; the paper's is `unigram_recall`. None generates nothing and
            uses the probability of the correct answer, among the options if any, else per token: far cheaper.
        batch_size: Frames that the language model processes at a time.
        max_new_tokens: Limit of generated answers (the paper's limit of 128, less the first token).
    """

    def __init__(
        self,
        pipe: SlotPipeline,
        *,
        num_candidates: int = 32,
        measure: Callable[[str, str], float] | None = None,
        batch_size: int = 32,
        max_new_tokens: int = 127,
    ) -> None:
        if num_candidates < 1 or batch_size < 1:
            raise ConfigError(f"at least one candidate and one per batch, got {num_candidates} and {batch_size}")
        self.pipe, self.num_candidates, self.measure = pipe, num_candidates, measure
        self.batch_size, self.max_new_tokens = batch_size, max_new_tokens

    def describe(self) -> dict[str, Any]:
        """Model and settings, for the provenance of labels."""
        return {**self.pipe.describe(), "num_candidates": self.num_candidates}

    def __call__(
        self, clip: Clip, queries: Sequence[Query], answers: Sequence[str]
    ) -> tuple[list[float], list[list[float]]]:
        """Times (T,) of a clip's candidates and their scores (Q, T) in 0..1; every query is about the clip."""
        encoded = self.encode(clip)
        rows = [self.scores(encoded, query, answer) for query, answer in zip(queries, answers, strict=True)]
        return encoded.seconds.tolist(), rows

    @torch.no_grad()
    def encode(self, clip: Clip) -> SingleFrames:
        """Decode and encode the candidates, each once."""
        model, processor = self.pipe.model, self.pipe.processor
        with processor.prepare(Query.about(clip, "What is there?")) as prepared:
            if not prepared.candidates.shape[1]:
                raise ModalityError("the clip has no frames to score one by one")
            times = prepared.candidates[0].numpy()
            times = times[spread(min(self.num_candidates, len(times)), len(times))]
            timestamps = torch.from_numpy(times)[None]
            selection = Selection(
                seconds=timestamps,
                mask=torch.ones_like(timestamps, dtype=torch.bool),
                spans=torch.stack([timestamps[:, :1], timestamps[:, -1:]], -1),
                reason="single frames",
            )
            prepared.needs = {name: _every_timestamp(need, len(times)) for name, need in prepared.needs.items()}
            inputs = processor.fetch(prepared, selection, cache=self.pipe.cache)
        seen = model.encode_streams(inputs.streams)
        features = {name: _one_row_each(result, len(times)) for name, result in seen.items()}
        return SingleFrames(times, features)

    @torch.no_grad()
    def scores(self, encoded: SingleFrames, query: Query, answer: str) -> list[float]:
        """(T,) score of each frame for `answer`."""
        parts: list[float] = []
        for first in range(0, len(encoded.seconds), self.batch_size):
            rows = slice(first, first + self.batch_size)
            parts += self._batch({n: _rows(f, rows) for n, f in encoded.features.items()}, query, answer)
        return parts

    def _batch(self, features: Mapping[str, Features], query: Query, answer: str) -> list[float]:
        embeds, count = self._embeds(features, query)
        language_model, processor = self.pipe.model.language_model, self.pipe.processor
        if self.measure is not None:
            ids = language_model.generate(embeds, do_sample=False, max_new_tokens=self.max_new_tokens)
            return [self.measure(answer, text) for text in processor.decode(ids)]
        prefix = language_model.prefill(embeds)
        if not query.options:
            ids = processor.answer_ids(answer)
            result = language_model.score(prefix, [[ids]] * count, normalize="mean")
            return [math.exp(row[0]) for row in result]
        (options,) = processor.option_ids([query])
        result = torch.tensor(language_model.score(prefix, [options] * count))
        return result.softmax(1)[:, query.options.index(answer)].tolist()

    def _embeds(self, features: Mapping[str, Features], query: Query) -> tuple[Embeds, int]:
        """The prompt of `query`, once for each row of `features`."""
        model, processor = self.pipe.model, self.pipe.processor
        count = len(next(iter(features.values())).item)
        item = torch.arange(count, device=model.device)
        text = processor.read_text("trunk", [query.text] * count) if "trunk" in model.spec.text else None
        text = None if text is None else text.to(model.device)
        blocks, _ = model.connector(features, item, torch.zeros_like(item), text)
        return model.read(processor.plan([query] * count, counts_of(blocks)), blocks), count


def _every_timestamp(need: FrameNeed, count: int) -> FrameNeed:
    if not need.follow_selection:
        return need
    return replace(need, num_frames=count * need.window, fps=None)


def _one_row_each(features: Features, count: int) -> Features:
    """Features (1, T, N, C) → (T, 1, N, C); other features (audio) are repeated for each frame."""
    item = torch.arange(count, device=features.values.device)
    values, mask, seconds = features.values, features.mask, features.seconds
    if values.shape[1] == count:
        values, mask, seconds = values[0][:, None], mask[0][:, None], seconds[0][:, None]
    else:
        values, mask, seconds = (_repeated(tensor, count) for tensor in (values, mask, seconds))
    return Features(values, mask, seconds, item, torch.zeros_like(item))


def _repeated(values: Tensor, count: int) -> Tensor:
    return values.expand(count, *values.shape[1:])


def _rows(features: Features, rows: slice) -> Features:
    values = features.values[rows]
    item = torch.arange(len(values), device=values.device)
    return Features(values, features.mask[rows], features.seconds[rows], item, torch.zeros_like(item))
