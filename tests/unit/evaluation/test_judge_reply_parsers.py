"""A judge that answers nonsense: the strict reading has a third state, the published ones their own accidents."""

import pytest

from vidweave.evaluation.judge_replies import (
    REPLY_PARSERS,
    JudgeReply,
    lmms_eval_reply,
    lmms_eval_score,
    merv_reply,
    strict_reply,
    summarize_replies,
    summarize_video_llava,
    video_llava_reply,
)

NONSENSE = (
    None,
    "",
    "yes",
    "{",
    "{" * 400,
    "[" * 5000,
    "\0",
    "I cannot judge this.",
    "{'pred': 'yes'}",
    "{}",
    "'x'",
    "7",
)


@pytest.mark.parametrize(
    ("reply", "word", "score"),
    [
        ("{'pred': 'yes', 'score': 4}", "yes", 4),
        ('```json\n{"pred": "No.", "score": 2.5}\n```', "no", 2.5),
        ('{"pred": true, "score": "3"}', "yes", 3),
        ("{'pred': 'yes', 'score': 4}.", "yes", 4),
        ("{\"pred\": \"yes\", \"score\": 4} that is {'pred': 'Yes', 'score': 4}", "yes", 4),
    ],
)
def test_the_strict_reading(reply, word, score):
    assert strict_reply(reply) == JudgeReply(word=word, score=score, pred=word)


@pytest.mark.parametrize(
    "reply",
    [
        *NONSENSE,
        "{'pred': 'not yes', 'score': 4}",
        "{'pred': 'eyes', 'score': 4}",
        "{'pred': None, 'score': 4}",
        "{'pred': 'yes', 'score': -1}",
        "{'pred': 'yes', 'score': 5.01}",
        "{'pred': 'yes', 'score': True}",
        '{"pred": "yes", "score": NaN}',
        "{'pred': 'yes', 'score': 1" + "0" * 400 + "}",
        "{'pred': 'yes', 'score': 4} {'pred': 'no', 'score': 0}",
        "{'pred': 'yes', 'score': [4]}",
    ],
)
def test_what_the_strict_reading_refuses(reply):
    assert strict_reply(reply).word == "unparsed"


@pytest.mark.parametrize("reply", NONSENSE)
@pytest.mark.parametrize("parser", REPLY_PARSERS)
def test_no_parser_fails_on_nonsense(parser, reply):
    assert REPLY_PARSERS[parser](reply).word != "yes"
    assert lmms_eval_score(reply) == 0


@pytest.mark.parametrize("parser", REPLY_PARSERS)
def test_an_escape_that_python_warns_of_is_a_plain_character(parser):
    """The reading must not depend on what the process does with warnings, nor print one per reply."""
    assert REPLY_PARSERS[parser](r"{'pred': 'yes', 'score': 4, 'reason': '\d'}").word == "yes"


def test_nothing_is_executed(tmp_path):
    path = tmp_path / "made"
    reply = f"{{'pred': open({str(path)!r}, 'w').name, 'score': 4}}"
    assert {parser(reply).word for parser in REPLY_PARSERS.values()} == {"unparsed", "no"}
    assert not path.exists()


def test_accidents_of_published_readings():
    assert video_llava_reply("{'pred': 'eyes', 'score': 4.8}") == JudgeReply(word="yes", score=4, pred="eyes")
    assert video_llava_reply("{'pred': 'unknown', 'score': 1}").word == "no"
    assert video_llava_reply("{'pred': 'yes', 'score': 1e400}") == JudgeReply(word="neither", score=None)
    assert lmms_eval_reply("a {'pred': 'yes', 'score': 9} b").score == 9
    assert lmms_eval_reply("{'pred': 'yes', 'score': 4, 'why': {}}").word == "unparsed"  # cut at the second brace
    assert merv_reply("{'pred': 'Yes!', 'score': 4.8}") == JudgeReply(word="yes", score=4.8, pred="Yes!")
    assert merv_reply(None) == JudgeReply(word="no", score=0)


def test_summaries_have_both_denominators():
    replies = [strict_reply(text) for text in ("{'pred': 'yes', 'score': 5}", "{'pred': 'no', 'score': 1}", "?")]
    assert summarize_replies(replies) == pytest.approx(
        {
            "num_yes": 1,
            "num_no": 1,
            "num_neither": 0,
            "num_unparsed": 1,
            "accuracy": 1 / 3,
            "score": 2,
            "accuracy_parsed": 1 / 2,
            "score_parsed": 3,
        }
    )
    nothing = summarize_replies([])
    assert (nothing["accuracy"], nothing["accuracy_parsed"], nothing["num_unparsed"]) == (None, None, 0)


def test_neither_leaves_only_one_denominator_of_video_llava():
    texts = ("{'pred': 'yes', 'score': 4}", "{'pred': 'maybe', 'score': 2}", "nonsense")
    result = summarize_video_llava([video_llava_reply(text) for text in texts])
    assert (result["accuracy"], result["average_score"], result["count"]) == (1.0, 3.0, 2)
