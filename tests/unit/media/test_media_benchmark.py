"""The decode benchmark: what it measures is checked, what it cannot compare is shown, and its bars bite."""

import json

import numpy as np
import pytest

from benchmarks import decode
from tests.unit.media.media_files import encode


@pytest.fixture
def clip(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "PEERS", {})
    return encode(tmp_path / "a.mp4", count=20)


def test_one_line_per_clip_and_count_and_the_criteria(clip, capsys):
    code = decode.main(["--clips", str(clip.parent), "--counts", "2,5", "--rounds", "1"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["clip"], line["count"]) for line in lines[:-1]] == [("a.mp4", 2), ("a.mp4", 5)]
    assert lines[0]["best_peer"] == "pyav_sequential"
    assert lines[0]["not_compared"] == {}
    criteria = lines[-1]["criteria"]
    assert criteria[0] == {"name": "clips with wrong frames", "value": 0, "threshold": 0, "ok": True}
    assert code == (0 if all(criterion["ok"] for criterion in criteria) else 1)


def test_wrong_frames_are_shown_and_not_compared(clip):
    def shifted(path, count):
        return np.roll(decode.sequential_decode(path, count), 8, axis=2)

    def broken(path, count):
        raise RuntimeError("no such codec")

    decoders = {
        "pyav_sequential": decode.sequential_decode,
        "vidweave": decode.vidweave_decode,
        "x": shifted,
        "y": broken,
    }
    row = decode.measure(decoders, clip, 3, rounds=1)
    assert set(row["not_compared"]) == {"x", "y"}
    assert row["best_peer"] == "pyav_sequential"
    assert "x" in row["seconds"]
    assert "y" not in row["seconds"]


def test_bars():
    row = {"clip": decode.SEEK_CLIP, "count": decode.SEEK_COUNT, "ratio": 1.0, "speedup": 3.0, "not_compared": {}}
    assert all(criterion["ok"] for criterion in decode.judge([row]))
    slow = [{**row, "ratio": 1.5}, row, row]
    assert [c["ok"] for c in decode.judge(slow)] == [True, True, False, True, True, True]
    assert [c["ok"] for c in decode.judge([{**row, "ratio": 1.2, "speedup": 1.9}])] == [True, False, True, False]
    assert not decode.judge([{**row, "not_compared": {"vidweave": "other pictures"}}])[0]["ok"]


def test_clips_must_be_given(monkeypatch, tmp_path):
    monkeypatch.delenv("VIDWEAVE_CLIPS", raising=False)
    for arguments in ([], ["--clips", str(tmp_path / "none")], ["--clips", str(tmp_path)]):
        with pytest.raises(SystemExit, match="2"):
            decode.main(arguments)
