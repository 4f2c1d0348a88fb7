"""A judge beside exact match: asked once, parsed strictly, counted where it answers nonsense, and an error where it goes."""

from __future__ import annotations

import json

import pytest

import vidweave
from tests.unit.engines.batch_server import serving_batches
from vidweave.cli.main import run
from vidweave.data.schema import Example, named
from vidweave.engines import Completion
from vidweave.engines.cache import CachedEngine, ResponseCache, Usage
from vidweave.errors import EngineError
from vidweave.evaluation.benchmarks.judging import judge_outcomes, judge_prompt_hash
from vidweave.evaluation.benchmarks.outcome import Outcome
from vidweave.types import Answer

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


def test_judging_in_a_batch_from_the_command_line(tmp_path, monkeypatch, capsys):
    """Submitted once; the agreement with exact match stands beside; a second command asks nothing."""

    class Says:
        def answer(self, queries, **decoding):
            return [Answer(("dog", "a dog", "cat")[int(q.text.split()[1])]) for q in queries]

        def describe(self):
            return {"model": "says"}

    def reply(body):
        return REPLIES[body["messages"][1]["content"].partition("Predicted Answer: ")[2].partition("\n")[0]]

    monkeypatch.setitem(vars(vidweave), "load", lambda name, **arguments: Says())
    (tmp_path / "a.mp4").write_bytes(b"never opened")
    rows = [{"video": "a.mp4", "question": f"Question {i}", "answer": "dog"} for i in range(3)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serving_batches(reply) as server:
        server.polls = 1
        words = ["evaluate", str(tmp_path / "own.jsonl"), "--judge", "gpt", "--judge-url", server.url, "--judge-batch"]
        words += ["--predictions", str(tmp_path / "r.jsonl"), "--json"]
        results = []
        for _ in range(2):
            assert run(words) == 0
            results.append(json.loads(capsys.readouterr().out)["scores"])
        assert server.calls.count("POST /v1/batches") == 1
        assert len(server.lines()) == 3
    strict = next(score for score in results[0] if score["scorer"] == "judge-strict")["values"]
    assert (strict["accuracy"], strict["exact_match"], strict["agreement"]) == pytest.approx((2 / 3, 1 / 3, 2 / 3))
    assert results[0] == results[1]
    for missing in (words[:4] + words[6:], [w for w in words if w not in ("--predictions", str(tmp_path / "r.jsonl"))]):
        assert run(missing) == 2
        assert "--judge-batch needs --judge-url, and --predictions FILE" in capsys.readouterr().out
