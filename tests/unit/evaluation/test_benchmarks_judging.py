"""A judge beside exact match: asked once, parsed strictly, counted where it answers nonsense, and an error where it goes."""

from __future__ import annotations

import pytest

from vidweave.data.schema import Example, named
from vidweave.engines import Completion
from vidweave.engines.cache import CachedEngine, ResponseCache, Usage
from vidweave.errors import EngineError
from vidweave.evaluation.benchmarks.judging import judge_outcomes, judge_prompt_hash
from vidweave.evaluation.benchmarks.outcome import Outcome

REPLIES = {"dog": "{'pred': 'yes', 'score': 5}", "a dog": '```json\n{"pred": "yes", "score": 4}\n```',
           "cat": "{'pred': 'no', 'score': 1}", "eyes": "I cannot judge this.", "": ""}  # fmt: skip


class Judge:
    """Judges by the prediction in the prompt; fails after some requests."""

    def __init__(self, lives=99):
        self.asked, self.lives = 0, lives

    def describe(self):
        return {"engine": "scripted", "model": "judge-1"}

    def complete(self, requests):
        result = []
        for request in requests:
            self.asked += 1
            reply = request.prompt[1]["content"].partition("Predicted Answer: ")[2].partition("\n")[0]
            gone = self.asked > self.lives
            result.append(Completion(text="", error="connection lost", may_pass=True) if gone else
                         Completion(text=REPLIES[reply]))  # fmt: skip
        return result


def outcomes(*replies):
    query = named("v", "What is it?")
    return [Outcome(example=Example(id=str(i), query=query, answer="dog"), reply=r) for i, r in enumerate(replies)]


def test_words_scores_and_agreement():
    strict, *published = judge_outcomes(Judge(), outcomes("dog", "a dog", "cat", "eyes", None))
    values = strict.values
    assert (values["num_yes"], values["num_no"], values["num_unparsed"]) == (2, 2, 1)
    assert (values["accuracy"], values["accuracy_parsed"]) == (2 / 5, 2 / 4)
    assert values["score"] == (5 + 4 + 1) / 5
    assert (values["exact_match"], values["agreement"]) == (1 / 5, 3 / 4)  # they differ on "a dog"
    assert judge_prompt_hash() in strict.note
    assert "judge-1" in strict.note
    assert [score.scorer for score in published] == ["judge-video-llava", "judge-merv", "judge-lmms-eval"]
    assert published[0].values["accuracy"] == 1 / 2  # the fenced reply is no literal
    assert published[1].values["accuracy"] == 1 / 4


def test_a_judge_that_goes_away_is_asked_about_the_rest_only(tmp_path):
    asked = outcomes("dog", "cat", "a dog")
    first = Judge(lives=2)
    with pytest.raises(EngineError, match=r"could not be asked about 1 of 3 answers \(connection lost\); run the same"):
        judge_outcomes(CachedEngine(first, ResponseCache(tmp_path), Usage()), asked)
    second = Judge()
    result = judge_outcomes(CachedEngine(second, ResponseCache(tmp_path), Usage()), asked)
    assert second.asked == 1
    assert result[0].values["accuracy"] == 2 / 3


def test_nothing_to_judge():
    (strict, *_) = judge_outcomes(Judge(), outcomes(None, None))
    assert (strict.values["accuracy"], strict.values["num_no"]) == (0.0, 2)
    assert "agreement" not in strict.values
