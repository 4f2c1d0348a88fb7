"""The temporal grounding bridge as a selector: which moments is the question about, judging by motion alone?"""

# Axes: R rows, C candidates, L motion steps, m spans, k moments

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from vidweave.errors import ConfigError, ShapeError
from vidweave.nn.span_rounding import RoundingName, round_spans
from vidweave.nn.span_selection import (
    gumbel_noise,
    inside_spans,
    moment_density,
    pick_moments,
    soft_moments,
    span_loss,
    thin,
    top_spans,
)
from vidweave.selectors.bridge import Bridge, CrossPosition, Mode, check_sizes
from vidweave.selectors.candidates import check_candidates, covered_span
from vidweave.types import ComponentConfig, Features, Selection, TextSpec, TextTokens

__all__ = ["GroundingSelector", "GroundingSelectorConfig"]


@dataclass(frozen=True, kw_only=True)
class GroundingSelectorConfig(ComponentConfig):
    """Sizes of the bridge (the defaults are the paper's), and how its spans become moments.

    Attributes:
        hidden, layers, fusion_layer, heads, intermediate, vocab_size, max_positions, layer_norm_eps, dropout: Of the
            encoder, see `Bridge`; `max_positions` counts only where there are tables.
        motion_width: Numbers per motion vector.
        num_patches: Vectors per step; 1 where the motion encoder has pooled them.
        mode: Which layers run.
        rope: `sinusoid` computes rotary angles for any length. `stored` takes tables from the weights: released files
            hold noise there, and work only with it.
        position: `absolute+rope` adds a learned table, which limits the length.
        text_context: What the motion looks at: the words' `embeddings`, or the words as the first layers' `encoder`
            understands them.
        cross_position: What is turned when steps look at words: the `words` alone, for any length, or `both`, as released.
        window: Steps to either side that a step looks at; None is all.
        text_spec: How the question is read.
        num_spans: m, at most. A further span overlaps the earlier ones by at most `max_overlap` (intersection over
            union), and is at least `min_share` as probable as the first.
        max_steps: Longest span in motion steps.
        num_candidates: Candidates are thinned evenly to so many; None takes every picture.
        rounding: `seconds` takes the candidates whose times lie in the spans. The others are those of the released
            code (`nn.span_rounding`), on indices.
        train_through: How candidates become moments in training: the chosen ones alone, as released models were trained
            (`hard`), those with the weights' gradient, so that the loss of the answer reaches the bridge
            (`straight_through`), or weighted sums of all (`soft`). `none` gives no weights.
        sampling: `gumbel` draws spans while training; it needs a generator.
        temperature: Of that noise: above 1 follows it more, below 1 the logits.
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
                f"({self.motion_width}) start at 1"
            )
        if not 0 <= self.max_overlap <= 1 or not 0 <= self.min_share <= 1 or self.temperature <= 0:
            raise ConfigError("max_overlap and min_share lie within 0..1, and temperature above 0")
        if self.rope == "stored" and self.text_spec.max_tokens > self.max_positions:
            raise ConfigError(
                f"text_spec.max_tokens ({self.text_spec.max_tokens}) is above max_positions ({self.max_positions})"
            )

    def build(self) -> GroundingSelector:
        return GroundingSelector(self)


class GroundingSelector(nn.Module):
    """See GroundingSelectorConfig. Deterministic outside training; gives exactly k moments to every clip."""

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
        """Motion (R rows of features), the question (R rows), candidates (R, C) in seconds → k moments per row.

        A row whose motion is all padding gets moments over the whole clip, and a note that says so.

        Raises:
            ConfigError: no motion or no text, k below 1, or sampling without a generator.
            ShapeError: rows that do not fit, or more steps or words than a table has rows.
        """
        motion, text = self._check(motion, text, candidates, k)
        check_candidates(candidates, mask)
        candidates, mask = self._thin(candidates, mask)
        real = motion.mask.any(-1)
        logits = self.bridge(motion.values, real, text.ids, text.mask)
        seen = self._sampled(logits, generator)
        steps, scores, found = self._spans(seen, real)
        has_motion = real.any(1)
        spans = _in_seconds(steps, motion.seconds).to(candidates.dtype)
        spans = torch.where(has_motion[:, None, None], spans, covered_span(candidates, mask)[:, None])
        index, chosen = self._moments(steps, found, spans, real, candidates, mask, k)
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
        """Mean cross-entropy of start and end at the motion steps that hold them.

        Args:
            target_spans: (R, m, 2) in seconds; several count alike. NaN marks spans that are not there.

        Raises:
            ConfigError: a selection that another selector made.
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
            raise ConfigError(f"the grounding selector needs at least one moment, got k={k}")
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

    def _moments(
        self, steps: Tensor, found: Tensor, spans: Tensor, real: Tensor, candidates: Tensor, mask: Tensor, k: int
    ) -> tuple[Tensor, Tensor]:
        """Indices of k candidates (R, k) and their mask."""
        has_motion = real.any(1)
        if self.config.rounding == "seconds":
            found = torch.where(has_motion[:, None], found, True)
            return pick_moments(inside_spans(candidates, spans, found), mask, k)
        index = torch.zeros(len(mask), k, dtype=torch.long, device=mask.device)
        for row, (length, count) in enumerate(zip(real.sum(1).tolist(), mask.sum(1).tolist(), strict=True)):
            if count:
                pairs = [(s, e) for (s, e), ok in zip(steps[row].tolist(), found[row].tolist(), strict=True) if ok]
                rounding: RoundingName = self.config.rounding
                frames = round_spans(pairs, num_steps=max(length, 1), num_frames=count, k=k, rounding=rounding)
                index[row] = torch.tensor(frames, device=index.device)
        return index, mask.any(1, keepdim=True).expand(-1, k)

    def _mix(
        self, logits: Tensor, real: Tensor, steps: Tensor, candidates: Tensor, mask: Tensor, index: Tensor
    ) -> Tensor | None:
        """Weights (R, k, C) of candidates in the moments, while training through the answer."""
        if not self.training or self.config.train_through == "none":
            return None
        density = moment_density(logits, real)
        soft = soft_moments(_at(candidates, density, steps, real), mask, index.shape[1])
        hard = torch.zeros_like(soft).scatter(2, index[..., None], 1.0)
        return {"soft": soft, "hard": hard}.get(self.config.train_through, hard + soft - soft.detach())


_NO_MOTION = "no motion to go by: moments are spread over the whole clip"


def _take(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(1, index) if values.shape[1] else values.new_zeros(index.shape)


def _in_seconds(spans: Tensor, steps: Tensor) -> Tensor:
    """Spans (R, m, 2) of steps whose times are (R, L, 2) → (R, m, 2): from the first one's start to the last one's end."""
    if not steps.shape[1]:
        return steps.new_zeros(spans.shape)
    first = steps[..., 0].gather(1, spans[..., 0])
    return torch.stack([first, steps[..., 1].gather(1, spans[..., 1]).maximum(first)], -1)


def _steps_of(spans: Tensor, steps: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """First and last step (R, m) that spans (R, m, 2) in seconds touch; L where there is nothing to learn.

    The first step is the one that holds the start; the last one begins before the end, and not before the first.
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
    """Density (R, L) of steps at times (R, C): that of the step that holds the time, or of the nearest border step."""
    if not density.shape[1]:
        return density.new_zeros(times.shape)
    ends = steps[..., 1].masked_fill(~real, torch.inf).to(times.dtype).contiguous()
    place = torch.searchsorted(ends, times.contiguous(), right=True)
    place = place.minimum((real.sum(1, keepdim=True) - 1).clamp(min=0))
    return density.gather(1, place)
