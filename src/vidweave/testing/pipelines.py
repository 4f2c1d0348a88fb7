"""Contract checks of pipelines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

from vidweave.errors import CancelledError
from vidweave.types import Answer, Clip, Pipeline, Query

__all__ = ["check_pipeline"]

TOLERANCE = 1e-3  # of scores, between a question asked alone and one in a batch


def check_pipeline(pipe: Pipeline, clip: Clip, question: str, options: Sequence[str], **decoding: Any) -> None:
    """Check a pipeline on one clip; raises AssertionError.

    A free answer has a text and a trace; streamed pieces join to it; options are scored, best first, and the answer is the
    best of them; batches, threads and single calls agree; a cancelled call raises CancelledError; the description is
    JSON data; closing twice is legal, and the pipeline still answers.

    Args:
        clip: A whole clip (a conversation has no span).
        options: At least two texts without repetition.
        decoding: Arguments of the free answers, e.g. `num_beams=1` where a model uses beams by default.
    """
    assert isinstance(pipe, Pipeline), "a pipeline has the members of vidweave.types.Pipeline"
    assert len(options) > 1, f"give at least two options to choose among, got {list(options)}"
    free, chosen = pipe.ask(clip, question, **decoding), pipe.ask(clip, question, options=options)
    _check_answers(free, chosen, options)
    pieces = list(pipe.ask(clip, question, stream=True, **decoding))
    assert "".join(pieces) == free.text, f"streamed pieces must join to the answer {free.text!r}, got {pieces}"
    asked = Query.about(clip, question, options)
    (scores,) = pipe.score([asked])
    assert [score.text for score in scores] == [option.text for option in chosen.options], "score and ask must agree"
    for together in (pipe.answer([asked, asked]), _in_threads(pipe, asked)):
        for answer in together:
            _expect_same(answer, chosen)
    media = [{"type": modality, modality: source} for modality, source in clip.items()]
    chatted = pipe.chat([{"role": "user", "content": [*media, {"type": "text", "text": question}]}], options=options)
    assert isinstance(chatted, Answer), "chat returns an Answer unless it streams"
    _expect_same(chatted, chosen)
    _check_cancelled(pipe, asked)
    assert json.loads(json.dumps(pipe.describe()))["model"], "describe() must be JSON data with the name of the model"
    pipe.close()
    pipe.close()
    _expect_same(pipe.answer([asked])[0], chosen)


def _check_answers(free: Answer, chosen: Answer, options: Sequence[str]) -> None:
    assert isinstance(free.text, str), f"the text of an answer must be a string, got {free.text!r}"
    assert not free.options, "an answer to a question without options has no scores"
    for answer in (free, chosen):
        assert answer.trace is not None, "an answer must have a trace"
        assert answer.trace.frames, "the trace must list the frames"
        assert answer.trace.seconds, "the trace must have the seconds of each step"
    assert {option.text for option in chosen.options} == set(options), "every option must have a score"
    values = [option.score for option in chosen.options if option.score is not None]
    assert values == sorted(values, reverse=True), f"options must be ordered by score, got {values}"
    assert chosen.text == chosen.options[0].text, "the answer must be the option with the best score"


def _expect_same(answer: Answer, expected: Answer) -> None:
    assert answer.text == expected.text, f"answers differ: {answer.text!r} and {expected.text!r}"
    pairs = zip(answer.options, expected.options, strict=True)
    for one, other in pairs:
        if one.score is not None and other.score is not None:
            assert abs(one.score - other.score) <= TOLERANCE * max(1.0, abs(other.score)), f"{one} and {other} differ"


def _in_threads(pipe: Pipeline, query: Query) -> list[Answer]:
    with ThreadPoolExecutor(2) as pool:
        return [answer for answers in pool.map(lambda _: pipe.answer([query]), range(3)) for answer in answers]


def _check_cancelled(pipe: Pipeline, query: Query) -> None:
    cancel = Event()
    cancel.set()
    try:
        pipe.answer([query], cancel=cancel)
    except CancelledError:
        return
    raise AssertionError("a call that was cancelled must raise CancelledError")
