"""Metrics of temporal grounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["span_iou", "span_scores", "step_iou"]

Span = Sequence[float]


def span_iou(predicted: Span, target: Span) -> float:
    """Compute the intersection over union of two spans (start, end) in seconds; equal instants give 1."""
    shared = min(predicted[1], target[1]) - max(predicted[0], target[0])
    union = max(predicted[1], target[1]) - min(predicted[0], target[0])
    if union <= 0:
        return 1.0
    return max(shared, 0.0) / union


def step_iou(predicted: Span, target: Span) -> float:
    """Compute the IoU of spans of integer steps, ends included, by VideoTGB's rule: touching spans do not overlap."""
    if tuple(predicted) == tuple(target):
        return 1.0
    if predicted[0] >= target[1] or predicted[1] <= target[0]:
        return 0.0
    shared = min(predicted[1], target[1]) - max(predicted[0], target[0]) + 1
    return max(shared / (max(predicted[1], target[1]) - min(predicted[0], target[0]) + 1), 0.0)


def span_scores(
    predicted: Sequence[Span], targets: Sequence[Span], iou: Callable[[Span, Span], float] = span_iou
) -> dict[str, float]:
    """Compute the mean IoU of pairs of spans, and the fractions with IoU at least 0.3 and 0.5."""
    values = [iou(one, other) for one, other in zip(predicted, targets, strict=True)]
    count = max(len(values), 1)
    shares = {f"iou>={least}": sum(value >= least for value in values) / count for least in (0.3, 0.5)}
    return {"iou": sum(values) / count, **shares}
