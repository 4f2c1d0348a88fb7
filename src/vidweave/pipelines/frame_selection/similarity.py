"""Frame selectors that compare frames with the question by a dual encoder: `similarity` and `ground`."""

# Axes: C candidate frames, S scored frames, D width of the shared space

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidweave.errors import ConfigError
from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.pipelines.frame_selection.frame_features import ClipFeatures, Counts
from vidweave.pipelines.frame_selection.kept_features import ContentHashes, KeptFeatures
from vidweave.pipelines.frame_selection.text_model import FrameTextModel
from vidweave.pipelines.frame_selection.timeline import Candidates, open_candidates
from vidweave.pipelines.selecting import check_cancelled
from vidweave.selectors.similarity import (
    SimilaritySettings,
    SpanOfFrames,
    choose_frames,
    coarse_positions,
    dense_positions,
    find_spans,
    is_global_question,
    refined_positions,
    snapped,
    stands_out,
)
from vidweave.types import Clip, FrameSelection, ScoredSpan

__all__ = ["GroundSelector", "SimilaritySelector"]

MAX_SPANS = 8  # that are reported


@dataclass(frozen=True, eq=False)
class _Scored:
    """Scored frames of a clip, in order of time: positions (S,) among the candidates, seconds, scores, features (S, D)."""

    positions: np.ndarray
    seconds: np.ndarray
    scores: np.ndarray
    features: np.ndarray


@dataclass(frozen=True, eq=False)
class _Call:
    """One question about one clip, and what it has cost since `started`."""

    candidates: Candidates
    num_frames: int
    counts: Counts
    started: float

    def selection(
        self,
        positions: np.ndarray,
        reason: str,
        *,
        scored: _Scored | None,
        spans: Sequence[SpanOfFrames] = (),
        scores: np.ndarray | None = None,
        notes: tuple[str, ...] = (),
    ) -> FrameSelection:
        """The frames at `positions` of the candidates as plain values."""
        curve = [] if scored is None else zip(scored.seconds.tolist(), scored.scores.tolist(), strict=True)
        start, end = self.candidates.span
        seconds = time.perf_counter() - self.started
        return FrameSelection(
            seconds=tuple(self.candidates.seconds[positions].tolist()),
            indices=tuple(self.candidates.indices[positions].tolist()),
            reason=reason,
            scores=() if scores is None else tuple(scores.tolist()),
            spans=tuple(ScoredSpan(start=s.start, end=s.end, score=s.score) for s in spans[:MAX_SPANS]),
            curve=tuple(curve),
            notes=notes,
            costs={
                "frames_scored": self.counts.scored,
                "frames_decoded": self.counts.decoded,
                "encoder_calls": self.counts.calls,
                "seconds": seconds,
                "video_frames": len(self.candidates.seconds),
                "video_seconds": end - start,
                "seconds_per_hour": 3600 * seconds / max(end - start, 1e-3),
            },
        )


class SimilaritySelector:
    """Choose frames whose features are similar to the question's, spread over the clip.

    A coarse grid of frames is scored first, then frames around the best ones: about 2% of an hour of video in all. Features of
    the grid do not depend on the question: the second question about a clip decodes no grid again, and with `cache_folder`
    no other process does either. Questions about the whole clip, and those to which no frame stands out, get uniform frames
    (`reason` is then `uniform`). Threads may share one.

    Args:
        source: Folder, shipped asset or hub id of a dual encoder (CLIP, SigLIP, SigLIP 2).
        device: None is the CPU.
        cache_folder: Keep features of frames there; None keeps them in memory.
        settings: See `selectors.similarity.SimilaritySettings`.

    Raises:
        CheckpointError, ConfigError: as `FrameTextModel`, or no source.
    """

    name = "similarity"

    def __init__(
        self,
        source: str | Path | None,
        *,
        device: Any = None,
        cache_folder: str | Path | None = None,
        settings: SimilaritySettings | None = None,
    ) -> None:
        if source is None or not str(source):
            raise ConfigError(
                f"the selector {self.name!r} needs the folder or hub id of a dual encoder (CLIP, SigLIP), e.g. "
                f"{self.name}:google/siglip2-base-patch16-224"
            )
        self.settings = SimilaritySettings() if settings is None else settings
        self.model = FrameTextModel(source, device=device)
        self._kept, self._hashes = KeptFeatures(cache_folder), ContentHashes()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model.source!r})"

    def select(
        self,
        clip: Clip,
        question: str,
        *,
        num_frames: int,
        options: Sequence[str] = (),
        limits: Limits | None = None,
        cancel: Event | None = None,
    ) -> FrameSelection:
        """See `types.FrameSelector.select`; `options` are ignored.

        Raises:
            QueryError: the question has more tokens than the text encoder takes.
        """
        started, caps = time.perf_counter(), DEFAULT_LIMITS if limits is None else limits
        check_cancelled(cancel)
        with open_candidates(clip, num_frames, caps) as candidates:
            call = _Call(candidates, num_frames, Counts(), started)
            if self.settings.gate and is_global_question(question):
                return self._uniform(call, "the question is about the whole clip")
            text = self.model.embed_text(question)
            content = self._hashes.of(clip["video"], caps) + ("" if clip.fps is None else f"@{clip.fps:g}")
            features = ClipFeatures(candidates, content, self.model, self._kept, caps, cancel, call.counts)
            scored = self._score(features, text, num_frames)
            if self.settings.gate and not stands_out(scored.scores):
                return self._uniform(call, "no frame stands out for this question", scored)
            spans = find_spans(scored.scores, scored.seconds, self.settings.relevant)
            return self._choose(call, scored, spans)

    def describe(self) -> dict[str, Any]:
        """See `types.FrameSelector.describe`."""
        model = {"model": self.model.source, "weights": self.model.fingerprint}
        return {"selector": self.name, **model, **asdict(self.settings)}

    def close(self) -> None:
        """Write features that are still in memory; may be called again."""
        self._kept.close()

    def _score(self, features: ClipFeatures, text: Tensor, num_frames: int) -> _Scored:
        """Score the coarse grid, then frames around its best ones."""
        candidates, settings = features.candidates, self.settings
        count = settings.coarse_count(len(candidates.seconds), num_frames)
        grid = coarse_positions(count, len(candidates.seconds))
        if count == len(candidates.seconds):
            groups, values = [grid], features.of([grid])
        else:
            grid = snapped(grid, candidates.keyframes())
            groups, values = [grid], features.of([grid])
            more = settings.refined_count(settings.budget(len(candidates.seconds)))
            scores = (values[0] @ text).numpy()
            cells = refined_positions(grid, scores, more, settings.per_cell)
            values += features.of(cells)
            groups += cells
        where, stacked = np.concatenate(groups), torch.cat(values).numpy()
        order = np.argsort(where)
        where, stacked = where[order], stacked[order]
        return _Scored(where, candidates.seconds[where], stacked @ text.numpy(), stacked)

    def _choose(self, call: _Call, scored: _Scored, spans: list[SpanOfFrames]) -> FrameSelection:
        chosen = choose_frames(scored.scores, scored.features, scored.seconds, call.num_frames, self.settings)
        return call.selection(
            scored.positions[chosen], self.name, scored=scored, spans=spans, scores=scored.scores[chosen]
        )

    def _uniform(self, call: _Call, why: str, scored: _Scored | None = None) -> FrameSelection:
        positions = coarse_positions(call.num_frames, len(call.candidates.seconds))
        note = f"{self.name}: {why}; frames are sampled uniformly"
        return call.selection(positions, "uniform", scored=scored, notes=(note,))


class GroundSelector(SimilaritySelector):
    """Find the best spans by similarity, and sample frames densely inside them: the model sees these spans alone.

    For questions about one short event; `similarity` keeps some frames of the context. Arguments as of `SimilaritySelector`.

    Args:
        num_spans: Spans at most; those that score less than halfway between the median and the best are left out anyway.
    """

    name = "ground"

    def __init__(self, source: str | Path | None, *, num_spans: int = 2, **arguments: Any) -> None:
        if num_spans < 1:
            raise ConfigError(f"num_spans must be at least 1, got {num_spans}")
        super().__init__(source, **arguments)
        self.num_spans = num_spans

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "num_spans": self.num_spans}

    def _choose(self, call: _Call, scored: _Scored, spans: list[SpanOfFrames]) -> FrameSelection:
        best = spans[: self.num_spans]
        held = [(int(scored.positions[s.first]), int(scored.positions[s.last])) for s in best]
        positions = dense_positions(held, call.num_frames, len(call.candidates.seconds))
        scores = np.interp(call.candidates.seconds[positions], scored.seconds, scored.scores)
        return call.selection(positions, self.name, scored=scored, spans=best, scores=scores)
