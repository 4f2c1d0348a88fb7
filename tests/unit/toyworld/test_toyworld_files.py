"""Worlds on disk: all there or nothing, the frames bit for bit, and a sheet to look at."""

import json

import numpy as np
import pytest

from vidweave.data.examples import ExamplesFile
from vidweave.errors import ConfigError, UnknownNameError
from vidweave.media.image import read_image
from vidweave.toyworld import files
from vidweave.toyworld.draw import draw_scene, scene_sheet
from vidweave.toyworld.files import write_toyworld
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import sample_scene
from vidweave.toyworld.splits import scene_seeds


def test_a_written_world_holds_what_was_rendered(tmp_path):
    from vidweave.media.audio import read_audio
    from vidweave.media.open import open_source
    from vidweave.media.points import read_points
    from vidweave.media.video import VideoReader

    report = write_toyworld(tmp_path / "world", 7, 2)
    lines = [json.loads(line) for line in (tmp_path / "world" / "questions.jsonl").read_text().splitlines()]
    assert (report.folder, report.num_clips, report.num_questions) == (tmp_path / "world", 2, len(lines))
    assert len(lines) > 20
    assert {"clip", "question", "options", "answer", "question_type", "needs", "scope", "encoder", "paths"} == set(
        lines[0]
    )
    assert all(line["answer"] in line["options"] for line in lines)
    scene = sample_scene(scene_seeds(7, 2)[1])
    paths = {name: tmp_path / "world" / path for name, path in lines[-1]["paths"].items()}
    with VideoReader(paths["video"]) as reader:
        assert reader.num_frames == 16
        np.testing.assert_array_equal(reader.read(range(16)).values, render(scene, "video").values)
    for name in ("depth", "normals", "flow", "thermal", "touch"):
        source, rendered = open_source(paths[name], name), render(scene, name)
        np.testing.assert_allclose(source.timeline()[0], rendered.pts_seconds)
        np.testing.assert_array_equal(source.read_frames(np.arange(16)).values, rendered.values)
        source.close()
    np.testing.assert_array_equal(
        read_points(paths["point_cloud"]).coordinates, render(scene, "point_cloud").coordinates
    )
    audio = read_audio(paths["audio"], sample_rate=16_000)
    np.testing.assert_allclose(audio.samples, render(scene, "audio").samples, atol=1e-4)


def test_a_world_of_long_clips_without_other_modalities(tmp_path):
    write_toyworld(tmp_path, 3, 1, length="long", modalities=("video",), num_frames=64, size=40)
    lines = [json.loads(line) for line in (tmp_path / "questions.jsonl").read_text().splitlines()]
    assert {line["scope"] for line in lines} == {"long"}
    assert all(line["needs"] == ["video"] for line in lines)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "clip_0000.json",
        "clip_0000.mp4",
        "examples.jsonl",
        "questions.jsonl",
    ]


def test_the_same_seed_writes_the_same_questions(tmp_path):
    for name in "ab":
        write_toyworld(tmp_path / name, 5, 2, modalities=("video",))
    first, second = ((tmp_path / name / "questions.jsonl").read_bytes() for name in "ab")
    assert first == second


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(files, "_write_clip", fail)
    with pytest.raises(OSError, match="disk full"):
        write_toyworld(tmp_path / "new" / "world", 1, 1)
    assert not any((tmp_path / "new").iterdir())


def test_faults_are_named(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ConfigError, match="is not an empty folder; give the path of a new or empty one"):
        write_toyworld(tmp_path, 1, 1)
    assert (tmp_path / "mine.txt").read_text() == "keep"
    with pytest.raises(UnknownNameError, match="did you mean 'depth'"):
        write_toyworld(tmp_path / "w", 1, 1, modalities=("video", "dept"))
    with pytest.raises(ConfigError, match="at least the video, got depth"):
        write_toyworld(tmp_path / "w", 1, 1, modalities=("depth",))


@pytest.mark.parametrize("length", ["short", "long"])
def test_a_sheet_shows_the_scene(length, tmp_path):
    sheet = scene_sheet(sample_scene(5, length=length), columns=7)
    assert sheet.mode == "RGB"
    assert len(sheet.getcolors(maxcolors=10**6)) > 200
    assert sheet.width > 800
    with pytest.raises(ConfigError, match="at least 2 columns, got 1"):
        scene_sheet(sample_scene(5), columns=1)
    path = draw_scene(tmp_path / "scene.png", 5, length=length, columns=7)
    np.testing.assert_array_equal(read_image(path).values[0], np.asarray(sheet))


def test_the_same_questions_as_own_data_of_the_asked_types_alone(tmp_path):
    report = write_toyworld(tmp_path / "w", 4, 3, modalities=("video", "audio"), asked=("colour", "beeps"))
    examples = ExamplesFile(data=str(tmp_path / "w" / "examples.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "w" / "questions.jsonl").read_text().splitlines()]
    assert len(examples) == len(lines) == report.num_questions
    for example, line in zip(examples, lines, strict=True):
        assert (example.query.text, example.answer, example.question_type) == (
            line["question"], line["answer"], line["question_type"],
        )  # fmt: skip
        assert set(example.query.scenes[0].clip) == {"video", *line["needs"]}
    assert {line["question_type"] for line in lines} == {"colour", "beeps"}
    with pytest.raises(UnknownNameError, match="unknown question type 'color'"):
        write_toyworld(tmp_path / "x", 4, 1, asked=("color",))
