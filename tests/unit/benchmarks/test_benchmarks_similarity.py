"""The paired comparison of frame selectors, and an hour that is indexed once and asked five times."""

import json

import pytest

from benchmarks import similarity
from vidweave.media.open import OpenSource
from vidweave.pipelines.frame_selection.text_model import FrameTextModel


@pytest.mark.slow  # renders 80 clips and asks each three times
def test_selected_frames_answer_more_than_uniform_ones():
    rows = similarity.paired(80, [8])["by_frames"]["8"]
    for name in ("similarity", "ground"):
        assert rows[name]["interval"][0] > 0.1, rows  # measured on 200 questions: see benchmarks/RESULTS.md
        assert rows[name]["p_value"] < 0.001


@pytest.mark.slow  # writes and indexes an hour of video
def test_an_hour_is_indexed_once_and_asked_five_times(tmp_path, monkeypatch):
    decoded, calls = [], []
    read, embed = OpenSource.read_frames, FrameTextModel.embed_frames
    monkeypatch.setattr(OpenSource, "read_frames", lambda s, i: (decoded.extend(i), read(s, i))[1])
    monkeypatch.setattr(FrameTextModel, "embed_frames", lambda m, *a: (calls.append(1), embed(m, *a))[1])
    path = similarity.write_hour(tmp_path / "hour.mp4")
    index = similarity.hour(path, similarity.MODEL, tmp_path / "store")
    first, *later = index["questions"]
    assert first["frames_scored"] == first["frames_decoded"] <= 0.02 * 36_000
    assert all(q["frames_decoded"] <= 64 for q in later)  # around the best frames; of the grid none
    assert len(decoded) == len(set(decoded)) == index["frames_scored_by_all"] <= 720 + 4 * 64
    assert len(calls) == sum(q["encoder_calls"] for q in index["questions"]) <= 40
    assert [q["frames_of_visit"] > 0 for q in index["questions"]] == [True] * 5
    again = similarity.hour(path, similarity.MODEL, tmp_path / "store")
    assert [q["frames_decoded"] for q in again["questions"]] == [0] * 5
    criteria = similarity.judge({"by_frames": {}}, index, 3600.0, None)
    assert all(criterion["ok"] for criterion in criteria if "milliseconds" not in criterion["name"]), criteria
    json.dumps(index)


def test_a_missed_bar_is_seen():
    costs = {"seconds": 9.0, "frames_scored": 800, "frames_decoded": 800, "frames_of_visit": 0, "encoder_calls": 25}
    index = {"questions": [costs] * 5, "video_frames": 36_000}
    rows = {"similarity": {"interval": [-0.1, 0.2]}, "ground": {"interval": [0.1, 0.2]}}
    criteria = similarity.judge({"by_frames": {"8": rows}}, index, 6.0, None)
    assert [criterion["ok"] for criterion in criteria] == [False, True, False, False, False, False, False]
