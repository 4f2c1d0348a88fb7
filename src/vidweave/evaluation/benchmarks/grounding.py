"""Temporal grounding as a benchmark's score: mIoU, R@k at IoU thresholds, and R@1 per question type."""

from __future__ import annotations

from collections.abc import Sequence

from vidweave.evaluation.benchmarks.outcome import Outcome, by_text
from vidweave.evaluation.benchmarks.scoring import Score, Values
from vidweave.evaluation.grounding import CORRECT_IOU, is_grounded, read_spans, target_spans
from vidweave.evaluation.scorers.table import score
from vidweave.evaluation.span_metrics import grounding_scores

__all__ = ["grounding"]


def grounding(outcomes: Sequence[Outcome]) -> list[Score]:
    """mIoU and R@1, R@5 at IoU 0.3, 0.5 and 0.7 times 100, and R@1 at IoU 0.5 per question type.

    A question without a reply, or whose reply holds no span, counts 0.
    """
    ranked = [[] if o.reply is None else read_spans(o.reply) for o in outcomes]
    values = grounding_scores(ranked, [target_spans(o.example) for o in outcomes])
    unread = sum(o.reply is not None and not spans for o, spans in zip(outcomes, ranked, strict=True))
    note = f"times 100, over all {len(outcomes)} questions; {unread} replies hold no span and count 0"
    right = {o.example.id: o.reply is not None and is_grounded(o.example, o.reply) for o in outcomes}
    responses = by_text(outcomes)
    marks = iter([right[r.id] for r in responses if r.prediction is not None])
    table = score(f"grounding-R@1-IoU>={CORRECT_IOU:g}", responses, lambda *_: next(marks))
    return [Values(scorer="temporal-grounding", values={n: 100 * v for n, v in values.items()}, note=note), table]
