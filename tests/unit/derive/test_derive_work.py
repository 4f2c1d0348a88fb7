"""Folders of clips: nothing twice, nothing lost, whatever stops the work."""

import json
import threading
from collections import Counter

import pytest

from vidweave.derive.manifest import MANIFEST, Manifest
from vidweave.derive.work import ARRAYS, find_clips, work
from vidweave.errors import ConfigError, MediaDecodeError, MediaNotFoundError, PipelineError


class Copy:
    """Copies a clip's bytes; counts how often each was made."""

    def __init__(self, fails=(), stops_at=None, **settings):
        self.told, self.fails, self.stops_at = {"kind": "copy", **settings}, fails, stops_at
        self.ran = Counter()
        self.lock = threading.Lock()

    def settings(self):
        return self.told

    def run(self, source, name, out):
        with self.lock:
            self.ran[name] += 1
            if self.stops_at is not None and self.ran.total() > self.stops_at:
                raise KeyboardInterrupt
        if name in self.fails:
            raise MediaDecodeError(f"{source.name} is broken")
        path = out / f"{name}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.read_bytes())
        return {"outputs": [f"{name}.bin"], "length": source.stat().st_size}


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    (folder / "sub").mkdir(parents=True)
    for i in range(7):
        (folder / ("sub" if i % 2 else "") / f"c{i}.mp4").write_bytes(b"x" * (i + 1))
    (folder / "notes.txt").write_text("no clip")
    (folder / ".hidden.mp4").write_bytes(b"")
    return find_clips([folder])


def lines(out):
    return [json.loads(line) for line in (out / MANIFEST).read_text().splitlines()]


def test_names_are_paths_below_the_folder(clips, tmp_path):
    assert list(clips) == ["c0", "c2", "c4", "c6", "sub/c1", "sub/c3", "sub/c5"]
    (tmp_path / "a.npy").write_bytes(b"")
    assert list(find_clips([tmp_path], ARRAYS)) == ["a"]
    (tmp_path / "clips" / "c0.mkv").write_bytes(b"")
    with pytest.raises(ConfigError, match="would both become 'c0'"):
        find_clips([tmp_path / "clips" / "c0.mp4", tmp_path / "clips" / "c0.mkv"])
    with pytest.raises(MediaNotFoundError, match="there is no file"):
        find_clips([tmp_path / "none.mp4"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaNotFoundError, match="no clips were found; give files, or folders"):
        find_clips([tmp_path / "empty"])


@pytest.mark.parametrize("workers", [1, 3])
def test_a_second_call_makes_nothing_again(clips, tmp_path, workers):
    out, seen = tmp_path / "out", []
    first, second = Copy(), Copy()
    report = work(first, clips, out, workers=workers, progress=seen.append)
    assert sorted(report.made) == sorted(seen) == sorted(clips)
    again = work(second, clips, out, workers=workers)
    assert (again.made, sorted(again.kept), second.ran) == ([], sorted(clips), Counter())
    for name, path in clips.items():
        assert (out / f"{name}.bin").read_bytes() == path.read_bytes()
    assert {line["clip"]: line["length"] for line in lines(out)[1:]} == {n: p.stat().st_size for n, p in clips.items()}


def test_what_changed_or_went_missing_is_made_again(clips, tmp_path):
    out = tmp_path / "out"
    work(Copy(), clips, out)
    clips["c2"].write_bytes(b"changed")
    (out / "sub" / "c3.bin").unlink()
    job = Copy()
    assert sorted(work(job, clips, out).made) == ["c2", "sub/c3"]
    assert job.ran == {"c2": 1, "sub/c3": 1}
    assert (out / "c2.bin").read_bytes() == b"changed"


def test_a_broken_clip_stops_no_other_and_is_tried_again(clips, tmp_path):
    out = tmp_path / "out"
    report = work(Copy(fails=("c4", "sub/c1")), clips, out, workers=2)
    assert report.failed == {"c4": "c4.mp4 is broken", "sub/c1": "c1.mp4 is broken"}
    assert len(report.made) == 5
    assert {line["clip"] for line in lines(out)[1:] if "error" in line} == {"c4", "sub/c1"}
    assert sorted(work(Copy(), clips, out).made) == ["c4", "sub/c1"]


def test_an_interrupted_call_is_continued(clips, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        work(Copy(stops_at=3), clips, out)
    done = {line["clip"] for line in lines(out)[1:]}
    assert 0 < len(done) < len(clips)
    job = Copy()
    report = work(job, clips, out)
    assert set(report.kept) == done
    assert set(job.ran) == set(clips) - done


def test_a_torn_line_is_cut_off_and_its_clip_made_again(clips, tmp_path):
    out = tmp_path / "out"
    work(Copy(), clips, out)
    data = (out / MANIFEST).read_bytes()
    last = lines(out)[-1]["clip"]
    for cut in (1, 9, len(data.splitlines(keepends=True)[-1]) - 1):
        (out / MANIFEST).write_bytes(data[:-cut])
        job = Copy()
        assert work(job, clips, out).made == [last]
        assert {line["clip"] for line in lines(out)[1:]} == set(clips)


def test_a_folder_holds_one_kind_of_thing_and_one_process(clips, tmp_path):
    out = tmp_path / "out"
    work(Copy(fps=3), clips, out)
    with pytest.raises(PipelineError, match=r"was filled with fps=3 \(now 5\); choose another --out"):
        work(Copy(fps=5), clips, out)
    with (
        Manifest(out, {"kind": "copy", "fps": 3}),
        pytest.raises(PipelineError, match="is being written by another process; wait for it"),
    ):
        work(Copy(fps=3), clips, out)
    data = (out / MANIFEST).read_text().splitlines(keepends=True)
    (out / MANIFEST).write_text("".join([*data[:2], "{broken\n", *data[2:]]))
    with pytest.raises(PipelineError, match=r"manifest.jsonl:3 is damaged .*; delete that line"):
        work(Copy(fps=3), clips, out)
    with pytest.raises(ConfigError, match="workers must be at least 1, got 0"):
        work(Copy(), clips, tmp_path / "new", workers=0)
