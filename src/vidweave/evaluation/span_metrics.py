"""Metrics of temporal grounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["best_iou", "grounding_scores", "span_iou", "span_scores", "step_iou"]

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


def best_iou(ranked: Sequence[Span], targets: Sequence[Span], k: int | None = None) -> float:
    """Compute the highest IoU of the first `k` predicted spans (None: all) with any target; 0 without spans or targets."""
    return max((span_iou(span, target) for span in ranked[:k] for target in targets), default=0.0)


def grounding_scores(
    ranked: Sequence[Sequence[Span]],
    targets: Sequence[Sequence[Span]],
    *,
    ranks: Sequence[int] = (1, 5),
    thresholds: Sequence[float] = (0.3, 0.5, 0.7),
) -> dict[str, float]:
    """Compute mIoU and R@k at IoU thresholds, as fractions of all questions.

    ``mIoU`` is the mean of `best_iou` of the first prediction. ``R@k, IoU>=t`` is the share of questions one of whose first k
    predictions has an IoU of at least t with a target. A question without predictions counts 0.

    Args:
        ranked: Predicted spans of each question, best first.
        targets: Annotated spans of each question.

    Source: Gao et al. 2017, arXiv 1705.02101, section 5 (R@n, IoU=m).
    """
    pairs = list(zip(ranked, targets, strict=True))
    count = max(len(pairs), 1)
    result = {"mIoU": sum(best_iou(spans, right, 1) for spans, right in pairs) / count}
    for k in ranks:
        best = [best_iou(spans, right, k) for spans, right in pairs]
        result |= {f"R@{k}, IoU>={t:g}": sum(value >= t for value in best) / count for t in thresholds}
    return result
