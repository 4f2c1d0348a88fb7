"""Pseudo labels: spans from scores, and a file that survives any kill."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from vidweave.data.schema import Example
from vidweave.errors import PredictionError
from vidweave.training.pseudo_labels import MEASURES, PseudoLabel, label_clips, read_labels, span_seconds, span_share
from vidweave.types import Query


def test_a_frame_reaches_half_way_to_its_neighbours():
    seconds = [1.0, 2.0, 4.0, 5.0, 9.0]
    assert span_seconds(seconds, [0, 0, 1, 1, 0]) == (3.0, 7.0)
    assert span_seconds(seconds, [1, 0, 0, 0, 0]) == (0.5, 1.5)
    assert span_seconds(seconds, [0, 0, 0, 0, 1]) == (7.0, 11.0)
    assert span_seconds([3.0], [1.0]) == (3.0, 3.0)
    assert span_seconds([0.25, 1.25], [1.0, 0.0])[0] == 0.0


def test_what_is_taken_off_first_makes_spans_sharper():
    seconds = [float(i) for i in range(6)]
    scores = [0.5, 0.5, 0.5, 0.9, 0.9, 0.5]
    assert span_seconds(seconds, scores) == (0.0, 5.5)
    assert span_seconds(seconds, scores, "min") == (2.5, 4.5)
    assert span_seconds(seconds, scores, "median") == (2.5, 4.5)
    scores[5] = 0.1  # one frame that lies below the many that say nothing
    assert span_seconds(seconds, scores, "min") == (0.0, 4.5)
    assert span_seconds(seconds, scores, "median") == (2.5, 4.5)


def test_scores_by_name():
    assert MEASURES["recall"]("a red ring", "the red ring") == pytest.approx(2 / 3)
    assert MEASURES["f1"]("a red ring", "ring") == pytest.approx(0.5)
    assert MEASURES["likelihood"] is None


class FakeScorer:
    """The later the frame, the better; counts clips."""

    def __init__(self, name="fake"):
        self.name, self.calls = name, []

    def describe(self):
        return {"model": self.name}

    def __call__(self, clip, queries, answers):
        self.calls.append((clip["video"], [query.text for query in queries]))
        return [0.5, 1.5, 2.5], [[0.0, 0.0, 1.0]] * len(queries)


def examples(count=6):
    return [
        Example(
            id=str(i), question_type="x", query=Query.about(f"clip{i // 2}.mp4", f"what is {i}?"), answer=f"answer {i}"
        )
        for i in range(count)
    ]


def test_the_share_reports_whether_scores_stand_up_elsewhere():
    def label(*scores):
        seconds = tuple(range(len(scores)))
        start, end = span_seconds(seconds, scores, "median")
        return PseudoLabel(id="", question="", answer="", start=start, end=end, seconds=seconds, scores=scores)

    assert span_share(label(0.1, 0.9, 0.9, 0.1, 0.1, 0.1), "median") == pytest.approx(1)
    assert span_share(label(0.1, 0.9, 0.9, 0.1, 0.1, 0.1, 0.5), "median") == pytest.approx(0.8)
    assert span_share(label(0.1, 0.9, 0.9, 0.1, 0.1, 0.1, 0.5)) == pytest.approx(1.8 / 2.7)
    assert span_share(label(0.1, 0.9, 0.9, 0.1, 0.1, 0.1, 0.5), "min") == pytest.approx(0.8)
    assert span_share(label(0.2, 0.2, 0.2), "median") == 0


def test_clips_are_encoded_once_and_labels_kept_in_full(tmp_path):
    scorer, out = FakeScorer(), tmp_path / "labels.jsonl"
    labels = list(label_clips(scorer, examples(), out, subtract="median", provenance={"data": "d"}))
    assert [clip for clip, _ in scorer.calls] == ["clip0.mp4", "clip1.mp4", "clip2.mp4"]
    manifest, read = read_labels(out)
    assert manifest == {"format": "vidweave pseudo labels", "model": "fake", "subtract": "median", "data": "d"}
    assert list(read.values()) == labels
    assert labels[3].question == "what is 3?"
    assert (labels[3].start, labels[3].end) == (2.0, 3.0)
    assert labels[3].scores == (0.0, 0.0, 1.0)


def test_a_run_goes_on_where_it_stopped(tmp_path):
    out = tmp_path / "labels.jsonl"
    whole = list(label_clips(FakeScorer(), examples(), tmp_path / "whole.jsonl"))
    list(label_clips(FakeScorer(), examples(3), out))
    with out.open("a") as file:
        file.write('{"id": "3", "quest')  # killed here
    scorer = FakeScorer()
    assert list(label_clips(scorer, examples(), out)) == whole
    assert scorer.calls == [("clip1.mp4", ["what is 3?"]), ("clip2.mp4", ["what is 4?", "what is 5?"])]
    assert out.read_text() == (tmp_path / "whole.jsonl").read_text()


def test_other_settings_and_other_files_are_refused(tmp_path):
    out = tmp_path / "labels.jsonl"
    list(label_clips(FakeScorer(), examples(2), out))
    with pytest.raises(PredictionError, match="created with other settings: model is 'fake' there, 'other' here"):
        list(label_clips(FakeScorer("other"), examples(2), out))
    running = label_clips(FakeScorer(), examples(), out)
    next(running)
    with pytest.raises(PredictionError, match="is being written by another process"):
        list(label_clips(FakeScorer(), examples(), out))
    running.close()
    (tmp_path / "strange.jsonl").write_text('{"format": "something"}\n')
    with pytest.raises(PredictionError, match=r"strange.jsonl:1 is no vidweave pseudo labels"):
        list(label_clips(FakeScorer(), examples(), tmp_path / "strange.jsonl"))
    with pytest.raises(PredictionError, match="there is no file"):
        read_labels(tmp_path / "none.jsonl")


@pytest.mark.slow
def test_killed_at_any_moment_it_labels_each_question_once(tmp_path, repository):
    script = textwrap.dedent(
        """
        import sys, time
        sys.path.insert(0, sys.argv[2])
        from tests.unit.training.test_training_pseudo_labels import FakeScorer, examples
        from vidweave.training.pseudo_labels import label_clips
        for label in label_clips(FakeScorer(), examples(200), sys.argv[1]):
            print(label.id, flush=True)
            time.sleep(0.002)
        """
    )
    out = tmp_path / "labels.jsonl"
    command = [sys.executable, "-c", script, str(out), str(repository)]
    for stop_after in (1, 37, 90):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
        while (line := process.stdout.readline()) and int(line) < stop_after:
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in rows[1:]] == [str(i) for i in range(200)]
