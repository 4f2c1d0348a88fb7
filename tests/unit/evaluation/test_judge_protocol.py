"""The judge's replies and the cutting of questions into chunks: what the goldens do not show."""

import pytest

from vidweave.errors import ConfigError
from vidweave.evaluation.chunks import contiguous_chunks
from vidweave.evaluation.judge import JUDGE_MODEL, batch_request, judge_messages, parse_verdict, summarize_verdicts


@pytest.mark.parametrize(
    ("reply", "is_right", "score"),
    [
        ("{'pred': 'yes', 'score': 4}", True, 4),
        ('{"pred": "Yes", "score": 3.5}', True, 3.5),
        ("{'pred': 'no', 'score': 5}", False, 5),
        ("  {'pred': 'yes', 'score': 4}", True, 4),
        ("Sure! {'pred': 'yes', 'score': 4}", False, 0),
        ("{'pred': 'yes'}", False, 0),
        ("['yes', 4]", False, 0),
        ("{'pred': 'yes', 'score': 'high'}", False, 0),
        ("__import__('os').getcwd()", False, 0),
        ("{" * 400, False, 0),
        ("{'pred': 'yes', 'score': 1" + "0" * 400 + "}", False, 0),  # no float holds it
        ("", False, 0),
        (None, False, 0),
    ],
)
def test_replies(reply, is_right, score):
    verdict = parse_verdict(reply)
    assert (verdict.is_right, verdict.score) == (is_right, score)


def test_summary_is_over_all_questions():
    verdicts = [parse_verdict(text) for text in ("{'pred': 'yes', 'score': 5}", None, "{'pred': 'no', 'score': 2}")]
    assert summarize_verdicts(verdicts) == pytest.approx({"accuracy": 1 / 3, "score": 7 / 3})
    assert summarize_verdicts([]) == {"accuracy": 0, "score": 0}


def test_braces_in_an_answer_stay():
    line = batch_request("q{1}", "what {x}?", "{answer}", "{0}")
    assert line["body"]["model"] == JUDGE_MODEL
    assert line["body"]["messages"] == judge_messages("what {x}?", "{answer}", "{0}")
    text = line["body"]["messages"][1]["content"]
    assert "Question: what {x}?\nCorrect Answer: {answer}\nPredicted Answer: {0}\n" in text
    assert text.endswith("{'pred': 'yes', 'score': 4}.")


def test_chunks_cover_everything_once():
    for count in (0, 1, 5, 12, 13):
        for chunks in (1, 3, 4, 20):
            cut = contiguous_chunks(range(count), chunks)
            assert [item for chunk in cut for item in chunk] == list(range(count))
            assert len(cut) <= chunks
    with pytest.raises(ConfigError, match="num_chunks must be at least 1, got 0"):
        contiguous_chunks([1], 0)
