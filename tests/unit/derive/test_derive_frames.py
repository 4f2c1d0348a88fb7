"""Frames as files, counts in annotations, and cuts without encoding."""

import json
import re

import av
import numpy as np
import pytest
from PIL import Image

from vidweave.cli.main import run
from vidweave.derive.frames import FrameJob, rewrite_counts
from vidweave.derive.trim import Cut, TrimJob, cut_video, cuts_of_annotations
from vidweave.derive.work import work
from vidweave.errors import AnnotationError, ConfigError, MediaError
from vidweave.media.open import open_source
from vidweave.media.video import VideoReader
from vidweave.media.write import write_video
from vidweave.types import Frames, Waveform


def numbered(count, height=24, width=36):
    """Frames whose grey level tells their number."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None] * 5, (count, height, width, 3)).copy()


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    audio = Waveform(np.zeros(32_000, np.float32), 16_000)
    frames = Frames.from_array(numbered(40), fps=20)
    return write_video(
        path, frames, fps=20, audio=audio, options={"g": "10", "crf": "1", "bf": "0", "sc_threshold": "0"}
    )


def levels(values):
    return np.rint(values.mean(axis=(1, 2, 3)) / 5).astype(int).tolist()


def test_frames_at_a_rate_are_those_on_show_then(clip, tmp_path):
    report = work(FrameJob(fps=10), {"a/b": clip}, tmp_path / "out")
    assert report.made == ["a/b"]
    folder = tmp_path / "out" / "a" / "b"
    assert sorted(p.name for p in folder.glob("*.jpg")) == [f"{i:05d}.jpg" for i in range(1, 21)]
    with open_source(folder, "video") as source:
        times, _ = source.timeline()
        np.testing.assert_allclose(times, np.arange(20) / 10)
        assert levels(source.read_frames(range(20)).values) == list(range(0, 40, 2))


def test_every_frame_scaled_under_another_name(clip, tmp_path):
    work(FrameJob(height=12, pattern="frame%06d.png"), {"x": clip}, tmp_path / "out")
    folder = tmp_path / "out" / "x"
    assert len(list(folder.glob("frame*.png"))) == 40
    with Image.open(folder / "frame000040.png") as last:
        assert last.size == (18, 12)
    assert [p.name for p in (tmp_path / "out").iterdir() if p.name.startswith(".")] == [".manifest.jsonl.lock"]


def damaged(clip, path):
    """A copy of the clip in which frames 20 and 21 (a keyframe and the next) cannot be decoded."""
    with av.open(str(clip)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(clip.read_bytes())
    for place, size in packets[20:22]:
        data[place : place + size] = bytes([0xFF]) * size
    path.write_bytes(data)
    return path


def test_lost_frames_and_notes_are_passed_on(clip, tmp_path):
    source = damaged(clip, tmp_path / "damaged.mp4")
    with VideoReader(source) as reader:
        lost = reader.read(range(40)).num_lost
    assert lost >= 2
    line = FrameJob().run(source, "d", tmp_path / "out")
    assert (line["num_frames"], line["num_lost"]) == (40, lost)
    assert any("corrupt packets were skipped" in note for note in line["notes"])
    assert set(FrameJob().run(clip, "c", tmp_path / "out")) == {"outputs", "num_frames"}


def test_the_command_reports_lost_frames(clip, tmp_path, capsys):
    source, out = damaged(clip, tmp_path / "damaged.mp4"), tmp_path / "out"
    for _ in range(2):  # also of what was made before
        assert run(["extract", "frames", str(source), str(clip), "--out", str(out)]) == 0
        text = capsys.readouterr().out
        assert re.search(r"damaged: note: \d+ frames could not be decoded; replaced by the nearest ones", text)
        assert re.search(r"damaged: note: .*corrupt packets were skipped", text)
        assert "clip: note" not in text
    assert run(["extract", "frames", str(source), str(clip), "--out", str(out), "--json"]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert list(notes) == ["damaged"]
    assert len(notes["damaged"]) >= 2


def test_settings_of_frames_are_checked():
    with pytest.raises(ConfigError, match="must be positive, got 0"):
        FrameJob(fps=0)
    for pattern in ("%05d.bmp", "frame.jpg", "%s-%s.jpg"):
        with pytest.raises(ConfigError, match="pattern must contain one number"):
            FrameJob(pattern=pattern)


def test_frame_counts_are_rewritten(tmp_path):
    counts = {"v1": 20, "v2": 31}
    by_id = tmp_path / "breakfast.json"
    by_id.write_text(json.dumps({"v1": {"frame_length": 19, "c": 1}, "v2": {"frame_length": 31}}))
    out = tmp_path / "new.json"
    assert rewrite_counts(by_id, counts, out, field="frame_length") == 1
    assert json.loads(out.read_text()) == {"v1": {"frame_length": 20, "c": 1}, "v2": {"frame_length": 31}}
    listed = tmp_path / "qa.json"
    listed.write_text(json.dumps([{"video": "v2"}, {"video": "v1", "n": 5}]))
    assert rewrite_counts(listed, counts, out, field="n", video="video") == 2
    assert [sample["n"] for sample in json.loads(out.read_text())] == [31, 20]
    before = out.read_text()
    for content, video, message in [
        ({"v3": {}}, None, "sample 'v3' refers to 'v3', which has no extracted frames"),
        ([{"a": 1}], "video", "sample '0' refers to None"),
        ([{"a": 1}], None, "has no samples by id; name the field"),
    ]:
        by_id.write_text(json.dumps(content))
        with pytest.raises(AnnotationError, match=message):
            rewrite_counts(by_id, counts, out, field="n", video=video)
    by_id.write_text("{")
    with pytest.raises(AnnotationError, match="is not JSON"):
        rewrite_counts(by_id, counts, out, field="n")
    assert out.read_text() == before


@pytest.mark.parametrize(("start", "end", "first", "last"), [(0.5, 1.2, 10, 23), (0.7, None, 10, 39), (0.0, 0.3, 0, 5)])
def test_a_cut_holds_the_span_from_the_key_frame_before_it(clip, tmp_path, start, end, first, last):
    out = tmp_path / "cut.mp4"
    early = cut_video(Cut(source=clip, start_seconds=start, end_seconds=end), out)
    assert early == pytest.approx(start - first / 20, abs=1e-6)
    with VideoReader(out) as reader, VideoReader(clip) as whole:
        shown = reader.read(range(reader.num_frames)).values
        np.testing.assert_array_equal(shown, whole.read(range(first, last + 1)).values)
        assert reader.pts_seconds[0] == pytest.approx(0, abs=0.05)
    with open_source(out, "audio") as audio:
        assert audio.read_waveform(16_000).duration_seconds == pytest.approx((last + 1 - first) / 20, abs=0.15)


def test_cuts_that_cannot_be_made(clip, tmp_path):
    with pytest.raises(MediaError, match="has no frame from 9"):
        cut_video(Cut(source=clip, start_seconds=9.0, end_seconds=9.5), tmp_path / "x.mp4")
    with pytest.raises(ConfigError, match=r"end after its start, got 2\.0\.\.1"):
        Cut(source=clip, start_seconds=2.0, end_seconds=1)
    assert not list(tmp_path.glob("*x*"))


def test_annotations_become_cuts_by_the_names_of_the_original_tools(clip, tmp_path):
    home = tmp_path / "data" / "dataset" / "day_1"
    home.mkdir(parents=True)
    for name in ("video.mp4", "gelsight.mp4"):
        (home / name).write_bytes(clip.read_bytes())
    samples = tmp_path / "touch_train.json"
    samples.write_text(json.dumps([{"video_id": "day_1", "question_id": "q7", "start": 10, "end": 24}]))
    cuts = cuts_of_annotations(samples, tmp_path / "data", "touch")
    assert {name: cut.source.name for name, cut in cuts.items()} == {
        "clips/q7": "video.mp4",
        "touch_clips/q7_touch": "gelsight.mp4",
    }
    assert all((c.start_seconds, c.end_seconds) == (0.5, 1.2) for c in cuts.values())
    report = work(TrimJob(cuts=cuts), {name: cut.source for name, cut in cuts.items()}, tmp_path / "out")
    assert sorted(report.made) == sorted(cuts)
    assert (tmp_path / "out" / "touch_clips" / "q7_touch.mp4").is_file()

    thermal = tmp_path / "data" / "t1"
    thermal.mkdir()
    for name in ("RGBD_RGB.mp4", "RGBT_T.mp4"):
        (thermal / name).write_bytes(clip.read_bytes())
    samples.write_text(json.dumps([{"video_id": "t1", "question_id": 3, "start": 20}]))
    cuts = cuts_of_annotations(samples, tmp_path / "data", "thermal")
    assert set(cuts) == {"clips/3", "thermal_clips/3_touch"}
    assert all((c.start_seconds, c.end_seconds) == (1.0, None) for c in cuts.values())
    for sample, message in [
        ({"video_id": "t1", "question_id": 3}, "sample 0 has no start"),
        ({"video_id": "../t1", "question_id": 3, "start": 1}, "are not plain names"),
        ({"video_id": "t1", "question_id": 3, "start": "x"}, "must be frame numbers"),
        ({"video_id": "t1", "question_id": 3, "start": -1}, "before it starts"),
    ]:
        samples.write_text(json.dumps([sample]))
        with pytest.raises(AnnotationError, match=message):
            cuts_of_annotations(samples, tmp_path / "data", "thermal")
