"""Fixtures of the command line's tests: a way to run it, a clip, and a model that answers without thinking."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vidweave
from vidweave.cli.main import run
from vidweave.types import Answer, Clip, Frames, FrameUse, OptionScore, Query, Trace, Waveform


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def vid(capsys) -> Callable[..., Outcome]:
    """Run one command in this process."""

    def call(*arguments: object) -> Outcome:
        code = run([str(a) for a in arguments])
        reply = capsys.readouterr()
        return Outcome(code, reply.out, reply.err)

    return call


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    """Seven small frames with a audio track."""
    from vidweave.media.write import write_video

    frames = np.random.default_rng(3).integers(0, 255, (7, 34, 46, 3), dtype=np.uint8)
    audio = Waveform(np.zeros(14_000, np.float32), 8_000)
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    return write_video(path, Frames.from_array(frames, fps=4), audio=audio)


class FakeModel:
    """Answers with the first option, or with the question in capitals; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def ask(self, clip: Clip, question: str, *, options: list[str], **arguments: Any) -> Answer:
        self.asked.append({"clip": clip, "question": question, "options": options, **arguments})
        trace = Trace(frames=[FrameUse(2, 0.5)], tokens={"text": 5}, seconds={"decode": 0.1}, notes=["one frame lost"])
        scores = tuple(OptionScore(text, -0.5 * (i + 1)) for i, text in enumerate(options))
        return Answer(options[0] if options else question.upper(), scores, trace=trace)

    def answer(self, queries: list[Query], **decoding: Any) -> list[Answer]:
        self.asked += [{"query": query, **decoding} for query in queries]
        return [Answer(query.options[0] if query.options else "yes") for query in queries]

    def describe(self) -> dict[str, Any]:
        return {"model": "fake"}


@pytest.fixture
def model(monkeypatch) -> FakeModel:
    """Stands in for every model that is loaded; `loads` says how."""
    fake = FakeModel()
    fake.loads = []  # type: ignore[attr-defined]

    def load(name: str, **arguments: Any) -> FakeModel:
        fake.loads.append((name, arguments))  # type: ignore[attr-defined]
        return fake

    monkeypatch.setitem(vars(vidweave), "load", load)
    return fake
