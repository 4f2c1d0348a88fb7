"""Temporal grounding bridge as a selector: find the part of a clip that a question refers to, from motion alone."""

# Axes: R rows, C candidates, L motion steps, m spans, k timestamps

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from vidweave.errors import ConfigError, ShapeError
from vidweave.nn.span_rounding import RoundingName, round_spans
from vidweave.nn.span_selection import (
    candidate_weights,
    gumbel_noise,
    inside_spans,
    pick_candidates,
    span_loss,
    step_density,
    thin,
    top_spans,
)
from vidweave.selectors.bridge import Bridge, CrossPosition, Mode, check_sizes
from vidweave.selectors.candidates import check_candidates, covered_span
from vidweave.types import ComponentConfig, Features, Selection, TextSpec, TextTokens

__all__ = ["GroundingSelector", "GroundingSelectorConfig"]


@dataclass(frozen=True, kw_only=True)
class GroundingSelectorConfig(ComponentConfig):
    """Sizes of the bridge (defaults: the paper's), and options that turn its spans into timestamps.

    Attributes:
        hidden, layers, fusion_layer, heads, intermediate, vocab_size, max_positions, layer_norm_eps, dropout: Sizes of
            the encoder, see `Bridge`; `max_positions` only applies to stored tables.
        motion_width: Width of a motion vector.
        num_patches: Vectors per step; 1 where the motion encoder pools them.
        mode: Layers that run.
        rope: `sinusoid` computes rotary angles for any length. `stored` loads tables from the weights: in released files
            these are noise, but the models only work with them.
        position: `absolute+rope` adds a trained table, which limits the length.
        text_context: What motion attends to: the words' `embeddings`, or the words as encoded by the first layers
            (`encoder`).
        cross_position: Which side is rotated when steps attend to words: the `words` alone, for any length, or `both`, as
            released.
        window: Number of steps to either side that a step attends to; None is all.
        text_spec: Tokenization of the question.
        num_spans: Maximum number of spans m. A further span overlaps earlier ones by at most `max_overlap` (intersection
            over union), and is at least `min_share` as probable as the first.
        max_steps: Maximum length of a span in motion steps.
        num_candidates: Candidates are thinned evenly to this number; None uses every frame.
        rounding: `seconds` selects candidates whose times lie in the spans. The others are the index-based rules of the
            released code (`nn.span_rounding`).
        train_through: How candidates are weighted in training: selected ones only, as released models were trained
            (`hard`), selected ones with the gradient of the weights, so that the answer loss reaches the bridge
            (`straight_through`), or weighted sums of all (`soft`). `none` gives no weights.
        sampling: `gumbel` samples spans in training; it needs a generator.
        temperature: Temperature of that noise: above 1 increases the noise, below 1 follows the logits more.
    """

    kind: ClassVar[str] = "grounding"
    hidden: int = 768
    layers: int = 12
    fusion_layer: int = 6
    heads: int = 12
    intermediate: int = 3072
    vocab_size: int = 30_522
    max_positions: int = 512
    layer_norm_eps: float = 1e-12
    dropout: float = 0.1
    motion_width: int = 512
    num_patches: int = 1
    mode: Mode = "fusion"
    rope: Literal["sinusoid", "stored"] = "sinusoid"
    position: Literal["rope", "absolute+rope"] = "rope"
    text_context: Literal["embeddings", "encoder"] = "embeddings"
    cross_position: CrossPosition = "words"
    window: int | None = None
    text_spec: TextSpec = field(default_factory=lambda: TextSpec(tokenizer="selector", max_tokens=128))
    num_spans: int = 2
    max_overlap: float = 0.5
    min_share: float = 0.0
    max_steps: int | None = None
    num_candidates: int | None = None
    rounding: Literal["seconds"] | RoundingName = "seconds"
    train_through: Literal["none", "hard", "straight_through", "soft"] = "none"
    sampling: Literal["none", "gumbel"] = "none"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_sizes(self.hidden, self.heads, self.layers, self.fusion_layer)
        if self.num_spans < 1 or self.num_patches < 1 or self.motion_width < 1:
            raise ConfigError(
                f"num_spans ({self.num_spans}), num_patches ({self.num_patches}) and motion_width "
                f"({self.motion_width}) must be at least 1"
            )
        if not 0 <= self.max_overlap <= 1 or not 0 <= self.min_share <= 1 or self.temperature <= 0:
            raise ConfigError("max_overlap and min_share must be within 0..1, and temperature above 0")
        if self.rope == "stored" and self.text_spec.max_tokens > self.max_positions:
            raise ConfigError(
                f"text_spec.max_tokens ({self.text_spec.max_tokens}) is above max_positions ({self.max_positions})"
            )

    def build(self) -> GroundingSelector:
        return GroundingSelector(self)


class GroundingSelector(nn.Module):
    """See GroundingSelectorConfig. Deterministic outside training; selects exactly k timestamps per clip."""

    needs_motion = True

    def __init__(self, config: GroundingSelectorConfig) -> None:
        super().__init__()
        self.config = config
        self.text_spec = config.text_spec
        self.bridge = Bridge(
            hidden=config.hidden,
            layers=config.layers,
            fusion_layer=config.fusion_layer,
            heads=config.heads,
            intermediate=config.intermediate,
            vocab_size=config.vocab_size,
            num_positions=config.max_positions,
            eps=config.layer_norm_eps,
            dropout=config.dropout,
            motion_width=config.motion_width,
            num_patches=config.num_patches,
            mode=config.mode,
            stored_tables=config.rope == "stored",
            absolute=config.position == "absolute+rope",
            cross_position=config.cross_position,
            encode_words=config.text_context == "encoder",
            window=config.window,
        )

    def forward(
        self,
        motion: Features | None,
        text: TextTokens | None,
        candidates: Tensor,
        mask: Tensor,
        *,
        k: int,
        generator: torch.Generator | None = None,
    ) -> Selection:
        """Motion (R rows of features), the question (R rows), candidates (R, C) in seconds → k timestamps per row.

        A row whose motion is all padding gets timestamps over the whole clip and a note.

        Raises:
            ConfigError: no motion or no text, k below 1, or sampling without a generator.
            ShapeError: rows that do not match, or more steps or words than a table has rows.
        """
        motion, text = self._check(motion, text, candidates, k)
        check_candidates(candidates, mask)
        candidates, mask = self._thin(candidates, mask)
        real = motion.mask.any(-1)
        logits = self.bridge(motion.values, real, text.ids, text.mask)
        seen = self._sampled(logits, generator)
        steps, scores, valid = self._spans(seen, real)
        has_motion = real.any(1)
        spans = _in_seconds(steps, motion.seconds).to(candidates.dtype)
        spans = torch.where(has_motion[:, None, None], spans, covered_span(candidates, mask)[:, None])
        index, chosen = self._select(steps, valid, spans, real, candidates, mask, k)
        mix = self._mix(seen, real, motion.seconds, candidates, mask, index)
        return Selection(
            seconds=_take(candidates, index).masked_fill(~chosen, 0.0),
            mask=chosen,
            spans=spans,
            scores=scores,
            logits=logits,
            steps=motion.seconds,
            step_mask=real,
            mix=mix,
            candidates=candidates,
            candidate_mask=mask,
            reason="grounding",
            notes=tuple((row, _NO_MOTION) for row, has in enumerate(has_motion.tolist()) if not has),
        )

    def loss(self, selection: Selection, target_spans: Tensor) -> Tensor:
        """Mean cross-entropy of start and end at the motion steps that contain them.

        Args:
            target_spans: (R, m, 2) in seconds; several spans are weighted equally. NaN marks missing spans.

        Raises:
            ConfigError: a selection made by another selector.
            ShapeError: targets for other rows.
        """
        logits, steps, real = selection.logits, selection.steps, selection.step_mask
        if logits is None or steps is None or real is None:
            raise ConfigError(f"the selection ({selection.reason}) has no logits; give one of the grounding selector")
        if target_spans.ndim != 3 or target_spans.shape[0] != len(logits) or target_spans.shape[2] != 2:
            raise ShapeError(f"target_spans must be ({len(logits)}, m, 2), got {tuple(target_spans.shape)}")
        count = target_spans.shape[1]
        first, last = _steps_of(target_spans, steps, real)
        rows = torch.arange(len(logits), device=logits.device).repeat_interleave(count)
        return span_loss(logits[rows], first.flatten(), last.flatten(), real[rows])

    # -- parts -------------------------------------------------------------------------------------------------------

    def _check(
        self, motion: Features | None, text: TextTokens | None, candidates: Tensor, k: int
    ) -> tuple[Features, TextTokens]:
        if k < 1:
            raise ConfigError(f"the grounding selector needs k >= 1, got k={k}")
        if motion is None or text is None:
            missing = "motion: give the model a stream with role='selector'" if motion is None else "a question"
            raise ConfigError(f"the grounding selector needs {missing}")
        if not len(candidates) == len(motion.values) == len(text.ids):
            raise ShapeError(
                f"rows of candidates, motion and text differ: {len(candidates)}, {len(motion.values)}, {len(text.ids)}"
            )
        return motion, text

    def _thin(self, candidates: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        limit = self.config.num_candidates
        if limit is None or candidates.shape[1] <= limit:
            return candidates, mask
        index = thin(mask, limit)
        return candidates.gather(1, index), torch.arange(limit, device=mask.device) < mask.sum(1, keepdim=True)

    def _sampled(self, logits: Tensor, generator: torch.Generator | None) -> Tensor:
        if not self.training or self.config.sampling == "none":
            return logits
        return logits + self.config.temperature * gumbel_noise(logits, generator)

    def _spans(self, logits: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c = self.config
        return top_spans(
            logits.detach(), real, c.num_spans, max_overlap=c.max_overlap, min_share=c.min_share, max_steps=c.max_steps
        )

    def _select(
        self, steps: Tensor, valid: Tensor, spans: Tensor, real: Tensor, candidates: Tensor, mask: Tensor, k: int
    ) -> tuple[Tensor, Tensor]:
        """Return indices of k candidates (R, k) and their mask."""
        has_motion = real.any(1)
        if self.config.rounding == "seconds":
            valid = torch.where(has_motion[:, None], valid, True)
            return pick_candidates(inside_spans(candidates, spans, valid), mask, k)
        index = torch.zeros(len(mask), k, dtype=torch.long, device=mask.device)
        for row, (length, count) in enumerate(zip(real.sum(1).tolist(), mask.sum(1).tolist(), strict=True)):
            if count:
                pairs = [(s, e) for (s, e), ok in zip(steps[row].tolist(), valid[row].tolist(), strict=True) if ok]
                rounding: RoundingName = self.config.rounding
                frames = round_spans(pairs, num_steps=max(length, 1), num_frames=count, k=k, rounding=rounding)
                index[row] = torch.tensor(frames, device=index.device)
        return index, mask.any(1, keepdim=True).expand(-1, k)

    def _mix(
        self, logits: Tensor, real: Tensor, steps: Tensor, candidates: Tensor, mask: Tensor, index: Tensor
    ) -> Tensor | None:
        """Return weights (R, k, C) of the candidates, to train through the answer loss."""
        if not self.training or self.config.train_through == "none":
            return None
        density = step_density(logits, real)
        soft = candidate_weights(_at(candidates, density, steps, real), mask, index.shape[1])
        hard = torch.zeros_like(soft).scatter(2, index[..., None], 1.0)
        return {"soft": soft, "hard": hard}.get(self.config.train_through, hard + soft - soft.detach())


_NO_MOTION = "no motion available: timestamps are spread over the whole clip"


def _take(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(1, index) if values.shape[1] else values.new_zeros(index.shape)


def _in_seconds(spans: Tensor, steps: Tensor) -> Tensor:
    """Spans (R, m, 2) of steps with times (R, L, 2) → (R, m, 2): from the start of the first to the end of the last."""
    if not steps.shape[1]:
        return steps.new_zeros(spans.shape)
    first = steps[..., 0].gather(1, spans[..., 0])
    return torch.stack([first, steps[..., 1].gather(1, spans[..., 1]).maximum(first)], -1)


def _steps_of(spans: Tensor, steps: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Return first and last step (R, m) that spans (R, m, 2) in seconds touch; L where there is no target.

    The first step is the one that contains the start; the last one begins before the end, and not before the first.
    """
    length = steps.shape[1]
    last_real = real.sum(1, keepdim=True) - 1
    start, end = spans[..., 0, None].to(steps), spans[..., 1, None].to(steps)
    first = ((steps[:, None, :, 1] <= start) & real[:, None]).sum(-1)
    last = ((steps[:, None, :, 0] < end) & real[:, None]).sum(-1) - 1
    first = first.minimum(last_real)
    last = last.maximum(first).minimum(last_real)
    nothing = spans.isnan().any(-1) | (last_real < 0)
    return first.masked_fill(nothing, length), last.masked_fill(nothing, length)


def _at(times: Tensor, density: Tensor, steps: Tensor, real: Tensor) -> Tensor:
    """Density (R, L) at times (R, C): that of the step containing the time, or of the nearest border step."""
    if not density.shape[1]:
        return density.new_zeros(times.shape)
    ends = steps[..., 1].masked_fill(~real, torch.inf).to(times.dtype).contiguous()
    place = torch.searchsorted(ends, times.contiguous(), right=True)
    place = place.minimum((real.sum(1, keepdim=True) - 1).clamp(min=0))
    return density.gather(1, place)
