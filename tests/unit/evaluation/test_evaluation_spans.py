import pytest

from vidweave.evaluation.overlap import token_f1, unigram_recall
from vidweave.evaluation.span_metrics import span_iou, span_scores, step_iou


@pytest.mark.parametrize(
    ("one", "other", "value"),
    [
        ((0, 4), (0, 4), 1.0),
        ((0, 4), (2, 6), 1 / 3),
        ((0, 1), (3, 4), 0.0),
        ((2, 2), (2, 2), 1.0),
        ((2, 2), (1, 5), 0.0),
    ],
)
def test_overlap_in_seconds(one, other, value):
    assert span_iou(one, other) == span_iou(other, one) == pytest.approx(value)


def test_shares():
    got = span_scores([(0, 4), (0, 4), (0, 1)], [(0, 4), (2, 6), (3, 4)])
    assert got == {"iou": pytest.approx(4 / 9), "iou>=0.3": pytest.approx(2 / 3), "iou>=0.5": pytest.approx(1 / 3)}
    assert span_scores([], []) == {"iou": 0.0, "iou>=0.3": 0.0, "iou>=0.5": 0.0}
    assert step_iou((0, 3), (3, 5)) == 0.0
    assert step_iou((0, 3), (2, 5)) == pytest.approx(2 / 6)


def test_words():
    assert unigram_recall("a red , red circle .", "the red square") == pytest.approx(2 / 4)
    assert unigram_recall(", .", "a") == 0.0
    assert token_f1("a red red circle", "red red red") == pytest.approx(2 * 2 / 7)
    assert token_f1("a", "") == 0.0
