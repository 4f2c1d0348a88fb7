"""Questions about one clip share opening, decoding and encoding; their answers are those of each question alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import vidweave
from vidweave.media import open as opening
from vidweave.media.write import write_video
from vidweave.model import gather
from vidweave.types import Clip, Frames, Query

NUM_CLIPS, PER_CLIP = 5, 4


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    noise = np.random.default_rng(4)
    return [
        write_video(
            folder / f"{i}.mp4", Frames.from_array(noise.integers(0, 255, (9, 34, 46, 3), dtype=np.uint8), fps=4)
        )
        for i in range(NUM_CLIPS)
    ]


@pytest.fixture
def counted(monkeypatch):
    """Opened sources and decoded frames, by path."""
    opens, frames = Counter(), Counter()
    open_clip, read = gather.open_clip, opening.OpenSource.read_frames

    def counting_open(clip, modality, **arguments):
        opens[str(clip[modality])] += 1
        source = open_clip(clip, modality, **arguments)
        source.counted_as = str(clip[modality])
        return source

    def counting_read(self, indices):
        frames.update((getattr(self, "counted_as", "?"), int(i)) for i in indices)
        return read(self, indices)

    monkeypatch.setattr(gather, "open_clip", counting_open)
    monkeypatch.setattr(opening.OpenSource, "read_frames", counting_read)
    return opens, frames


def queries(clips):
    options = ("red", "blue", "green", "yellow")
    return [Query.about(Clip(path), f"Which color has thing {n}?", options[: 2 + n % 3])
            for n in range(PER_CLIP) for path in clips]  # fmt: skip


def test_a_clip_is_opened_decoded_and_encoded_once_for_all_its_questions(clips, counted, monkeypatch):
    opens, frames = counted
    pipe = vidweave.load("tiny-base")
    encoder = next(iter(pipe.model.encoders.values()))
    rows, encode = [], encoder.encode
    monkeypatch.setattr(
        encoder, "encode", lambda values, modality: rows.append(len(values)) or encode(values, modality)
    )
    asked = queries(clips)
    together = pipe.answer(asked)
    assert opens == Counter({str(path): 1 for path in clips})
    assert set(frames.values()) == {1}, "no frame is decoded twice"
    assert sum(rows) == NUM_CLIPS
    for query, answer in zip(asked, together, strict=True):
        alone = pipe.answer([query])[0]
        assert alone.text == answer.text
        for one, other in zip(alone.options, answer.options, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-4)


def test_another_span_or_rate_is_another_clip(clips, counted):
    opens, _ = counted
    path = clips[0]
    spans = [Clip(path), Clip(path, start_seconds=0.5), Clip(path, start_seconds=0.5, end_seconds=1.5)]
    vidweave.load("tiny-base").answer([Query.about(clip, "Which?", ("red", "blue")) for clip in spans * 2])
    assert opens == Counter({str(path): 3})


def test_a_run_over_a_data_set_opens_every_clip_once(clips, counted, tmp_path):
    """Though the questions of a file take turns between clips."""
    import json

    from vidweave.data.examples import ExamplesFile
    from vidweave.evaluation.benchmarks.measure import Measurement, measure
    from vidweave.evaluation.tasks.dataset import DatasetTask

    opens, frames = counted
    rows = [{"video": path.name, "question": f"Which color has thing {n}?", "options": ["red", "blue"], "answer": n % 2}
            for n in range(PER_CLIP) for path in clips]  # fmt: skip
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = DatasetTask("examples", ExamplesFile(data=tmp_path / "own.jsonl", media=(clips[0].parent,)), {})
    result = measure(vidweave.load("tiny-base"), task, tmp_path / "r.jsonl", Measurement(batch_size=2 * PER_CLIP))
    assert result.counts.answered == NUM_CLIPS * PER_CLIP
    assert opens == Counter({str(path): 1 for path in clips})
    assert set(frames.values()) == {1}
