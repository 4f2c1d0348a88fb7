"""The public check of pipelines accepts ours, and rejects each way to break the contract."""

from dataclasses import replace

import pytest
from tiny_architectures import ALL, SMALL, query

from vidweave.pipelines.slot import SlotPipeline
from vidweave.testing import check_pipeline
from vidweave.types import Query, Trace

QUESTION, OPTIONS = "what is the colour of the circle ?", ("red", "blue", "green")


@pytest.mark.parametrize(
    "name", [n if n in (*SMALL, "tiny-base") else pytest.param(n, marks=pytest.mark.slow) for n in ALL]
)
def test_every_architecture_fulfils_the_contract(name):
    pipe = ALL[name]()
    check_pipeline(pipe, query().scenes[0].clip, QUESTION, OPTIONS, num_beams=1)


def _changed(change):
    def answer(pipe, queries, **options):
        return [change(answer) for answer in SlotPipeline.answer(pipe, queries, **options)]

    return answer


FAULTS = {
    "the trace must list the frames": {"answer": _changed(lambda a: replace(a, trace=replace(a.trace, frames=())))},
    "an answer must have a trace": {"answer": _changed(lambda a: replace(a, trace=None))},
    "the trace must have the seconds": {"answer": _changed(lambda a: replace(a, trace=Trace(frames=a.trace.frames)))},
    "options must be ordered by score": {"answer": _changed(lambda a: replace(a, options=a.options[::-1]))},
    "the answer must be the option with the best score": {
        "answer": _changed(lambda a: replace(a, text=a.options[-1].text if a.options else a.text))
    },
    "every option must have a score": {"answer": _changed(lambda a: replace(a, options=a.options[:1]))},
    "streamed pieces must join": {"_write": lambda pipe, query, options: iter(["no", "thing"])},
    "a call that was cancelled must raise": {
        "answer": lambda pipe, queries, cancel=None, **options: SlotPipeline.answer(pipe, queries, **options)
    },
    "describe.. must be JSON data with the name": {"describe": lambda pipe: {"model": ""}},
    "score and ask must agree": {
        "score": lambda pipe, queries: [scores[::-1] for scores in SlotPipeline.score(pipe, queries)]
    },
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_broken_pipeline_is_named(message):
    pipe = SMALL["slots-causal"]()
    changed = type("Broken", (SlotPipeline,), {**FAULTS[message], **_ask_by_answer(FAULTS[message])})
    pipe.__class__ = changed
    with pytest.raises(AssertionError, match=message):
        check_pipeline(pipe, query().scenes[0].clip, QUESTION, OPTIONS)


def _ask_by_answer(fault):
    """`ask` through the changed `answer`, as a pipeline of somebody else would have it."""
    if "answer" not in fault:
        return {}

    def ask(pipe, clip, question, *, options=(), stream=False, **more):
        if stream:
            return SlotPipeline.ask(pipe, clip, question, stream=True, **more)
        return pipe.answer([Query.about(clip, question, options)], **more)[0]

    return {"ask": ask}


def test_two_options_are_needed():
    pipe = SMALL["slots-causal"]()
    with pytest.raises(AssertionError, match="give at least two options"):
        check_pipeline(pipe, query().scenes[0].clip, QUESTION, ("red",))
