"""How well spans in time were found."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["span_iou", "span_scores", "step_iou"]

Span = Sequence[float]


def span_iou(found: Span, target: Span) -> float:
    """Intersection over union of two spans (start, end) in seconds; two equal instants are one."""
    shared = min(found[1], target[1]) - max(found[0], target[0])
    union = max(found[1], target[1]) - min(found[0], target[0])
    if union <= 0:
        return 1.0
    return max(shared, 0.0) / union


def step_iou(found: Span, target: Span) -> float:
    """Of spans of whole steps with both ends included, by VideoTGB's rule: spans that only touch share nothing."""
    if tuple(found) == tuple(target):
        return 1.0
    if found[0] >= target[1] or found[1] <= target[0]:
        return 0.0
    shared = min(found[1], target[1]) - max(found[0], target[0]) + 1
    return max(shared / (max(found[1], target[1]) - min(found[0], target[0]) + 1), 0.0)


def span_scores(
    found: Sequence[Span], targets: Sequence[Span], iou: Callable[[Span, Span], float] = span_iou
) -> dict[str, float]:
    """Mean intersection over union of pairs of spans, and the shares of at least 0.3 and 0.5."""
    values = [iou(one, other) for one, other in zip(found, targets, strict=True)]
    count = max(len(values), 1)
    shares = {f"iou>={least}": sum(value >= least for value in values) / count for least in (0.3, 0.5)}
    return {"iou": sum(values) / count, **shares}
