"""`vidweave stream`: what is pushed, when it answers, and what it prints."""

from __future__ import annotations

import pytest

from vidweave.cli.amounts import parse_seconds
from vidweave.cli.stream import DEFAULT_MODEL
from vidweave.errors import ConfigError
from vidweave.systems.malmm.tiny import tiny_malmm
from vidweave.types import Answer


class FakeStream:
    has_rate = True

    def __init__(self):
        self.pushed = []

    def push(self, clip, *, fps):
        self.pushed.append((clip.start_seconds, clip.end_seconds, fps))

    def ask(self, question, *, options):
        return Answer(options[0] if options else f"{len(self.pushed)} pieces")


@pytest.fixture
def live(model):
    """The stream that every loaded model opens."""
    stream = FakeStream()
    stream.questions = []

    def open_stream(question):
        stream.questions.append(question)
        return stream

    model.stream = open_stream
    return stream


def test_answers_with_times_while_it_reads(vid, live, clip):
    done = vid("stream", clip, "What happens?", "--every", "0.5s", "--fps", 2)
    assert done.code == 0
    assert done.out.splitlines() == [
        "     0.50 s  1 pieces",
        "     1.00 s  2 pieces",
        "     1.50 s  3 pieces",
        "     1.75 s  4 pieces",
    ]
    assert live.pushed == [(0.0, 0.5, 2.0), (0.5, 1.0, 2.0), (1.0, 1.5, 2.0), (1.5, 1.75, 2.0)]
    assert live.questions == ["What happens?"]


def test_the_model_that_streams_by_default_takes_clips_of_any_length(vid, live, model, clip):
    vid("stream", clip, "What?")
    ((name, _),) = model.loads
    assert name == DEFAULT_MODEL == tiny_malmm().name
    assert tiny_malmm().parse().connector.ports["video"].beyond_times == "clamp"


def test_the_rate_is_the_models_own_or_must_be_given(vid, live, clip):
    assert vid("stream", clip, "What?", "--every", "1s").code == 0
    assert [fps for *_, fps in live.pushed] == [None, None]  # `push` takes the model's
    live.has_rate, live.pushed = False, []
    done = vid("stream", clip, "What?")
    assert (done.code, live.pushed) == (2, [])
    assert "does not define a frame rate; give --fps" in done.err
    assert vid("stream", clip, "What?", "--fps", "0.5").code == 0
    assert live.pushed[0][2] == 0.5


def test_json_and_spans(vid, live, model, clip):
    arguments = ("--start", 0.5, "--end", 1.5, "--option", "red", "--option", "blue", "--device", "cpu", "--json")
    done = vid("stream", clip, "Which colour?", "--every", "1", *arguments)
    assert [(a["seconds"], a["text"]) for a in done.data["answers"]] == [(1.5, "red")]
    assert model.loads[0][1] == {"device": "cpu", "dtype": None}


def test_pieces_without_a_frame_are_left_out(vid, live, clip):
    vid("stream", clip, "What?", "--every", "0.1s")
    assert len(live.pushed) == 7
    assert live.pushed[0][:2] == (0.0, 0.1)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["What?", "--every", "soon"], "'soon' is not a time; write it like 90"),
        (["What?", "--every", "0s"], "--every must be above 0"),
        (["What?", "--start", "9"], "the span is empty: it starts at 9 s and ends at 1.75 s"),
        (["What?", "--start", "-1"], "Invalid value for '--start': '-1' is not a time; write it like 90"),
        ([" "], "the question is empty"),
    ],
)
def test_bad_input_fails_before_a_model_is_loaded(vid, live, model, clip, arguments, complaint):
    done = vid("stream", clip, *arguments)
    assert done.code == 2
    assert complaint in done.err
    assert model.loads == []


def test_times_are_read():
    assert [parse_seconds(t) for t in ("5", "5s", ".5 s", "1.5m", "2H")] == [5, 5, 0.5, 90, 7200]
    with pytest.raises(ConfigError, match="is not a time"):
        parse_seconds("-1s")
