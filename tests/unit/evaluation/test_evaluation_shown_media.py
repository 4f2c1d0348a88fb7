"""A run is continued only over the questions and the media that it began with."""

from __future__ import annotations

import copy
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import vidweave
from tests.unit.contra4.contra4_questions import question
from vidweave.contra4.task import ANSWER_RULE, Contra4Task
from vidweave.data.schema import Example
from vidweave.errors import PredictionError
from vidweave.evaluation import shown_media
from vidweave.evaluation.predictions import PredictionFile, read_predictions
from vidweave.evaluation.runner import run
from vidweave.evaluation.shown_media import MediaHashes
from vidweave.media import write_image
from vidweave.pipelines.slot import SlotPipeline
from vidweave.types import Answer, Clip, Frames, Query, Scene


class Files:
    """Item i shows two scenes, a file and a file with audio; nothing but the folder decides their content."""

    def __init__(self, folder, count: int = 5, **changes) -> None:
        self.folder, self.count, self.changes = folder, count, changes

    def ids(self):
        return [f"item-{i}" for i in range(self.count)]

    def example(self, index):
        clips = (
            Clip(str(self.folder / f"{index}.mp4"), **self.changes.get("span", {})),
            Clip(audio=str(self.folder / f"{index}.wav")),
        )
        scenes = tuple(Scene(f"Scene {letter}", clip) for letter, clip in zip("AB", clips, strict=True))
        options = self.changes.get("options", ("Scene A", "Scene B"))
        query = Query(self.changes.get("question", "Which scene is louder?"), scenes, options)
        return Example(
            id=f"item-{index}", question_type="loud", query=query, answer=self.changes.get("answer", "Scene A")
        )

    def describe(self):
        return {"name": "files"}


class Says:
    asked = 0

    def answer(self, queries, **_):
        self.asked += len(queries)
        return [Answer("Scene A") for _ in queries]

    def describe(self):
        return {"model": "says"}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "media"
    made.mkdir()
    for index in range(5):
        (made / f"{index}.mp4").write_bytes(bytes([index]) * 5000)
        (made / f"{index}.wav").write_bytes(bytes([index]) * 300)
    return made


def resumed(task, path, **arguments):
    return run(Says(), task, path, progress=False, **arguments)


def test_a_replaced_clip_is_named_even_if_size_and_date_stay(folder, tmp_path):
    path = tmp_path / "r.jsonl"
    resumed(Files(folder), path)
    before, clip = path.read_bytes(), folder / "3.mp4"
    times = clip.stat().st_atime_ns, clip.stat().st_mtime_ns
    data = bytearray(clip.read_bytes())
    data[2500] ^= 1
    clip.write_bytes(data)
    os.utime(clip, ns=times)
    with pytest.raises(PredictionError, match=r"questions or media have changed \(item-3: Scene A/video\); restore"):
        resumed(Files(folder), path)
    assert path.read_bytes() == before
    data[2500] ^= 1
    clip.write_bytes(data)
    assert resumed(Files(folder), path).num_resumed == 5


def test_media_that_all_changed_are_counted(folder, tmp_path):
    resumed(Files(folder), tmp_path / "r.jsonl", limit=4)
    for file in folder.glob("*.wav"):
        file.write_bytes(b"other")
    with pytest.raises(
        PredictionError, match=r"item-0: Scene B/audio; item-1: .*; item-2: Scene B/audio; and 1 more\)"
    ):
        resumed(Files(folder), tmp_path / "r.jsonl")


def test_a_missing_clip_is_a_change(folder, tmp_path):
    resumed(Files(folder), tmp_path / "r.jsonl")
    (folder / "1.wav").unlink()
    with pytest.raises(PredictionError, match=r"\(item-1: Scene B/audio\)"):
        resumed(Files(folder), tmp_path / "r.jsonl")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"question": "Which scene is quieter?"}, "question"),
        ({"options": ("Scene B", "Scene A")}, "options"),
        ({"answer": "Scene B"}, "answer"),
        ({"span": {"start_seconds": 0.5}}, "Scene A/video"),
        ({"span": {"end_seconds": 2.5}}, "Scene A/video"),
    ],
)
def test_whatever_else_is_shown_is_part_of_the_run(folder, tmp_path, changes, name):
    resumed(Files(folder), tmp_path / "r.jsonl", limit=1)
    with pytest.raises(PredictionError, match=rf"\(item-0: {name}\)"):
        resumed(Files(folder, **changes), tmp_path / "r.jsonl")


def test_moved_files_more_questions_and_items_not_asked_yet_are_the_same_run(folder, tmp_path):
    path, moved = tmp_path / "r.jsonl", tmp_path / "moved"
    resumed(Files(folder, 3), path)
    shutil.copytree(folder, moved, copy_function=shutil.copyfile)  # other dates
    (moved / "4.mp4").write_bytes(b"was not shown yet")
    report = resumed(Files(moved, 5), path)
    assert (report.num_resumed, report.overall.num_items) == (3, 5)


def test_each_file_is_hashed_once_however_many_questions_show_it(folder, monkeypatch):
    read = []
    monkeypatch.setattr(shown_media, "content_hash", lambda path: read.append(path) or "hash")
    hashes, task = MediaHashes(), Files(folder)
    result = [hashes.of(task.example(0)) for _ in range(3)]
    assert result == [{"Scene A/video": "hash", "Scene B/audio": "hash"}] * 3
    assert len(read) == 2


def test_media_in_memory_and_names_of_no_file_are_not_hashed(folder):
    frames = Frames.from_array(np.zeros((2, 4, 6, 3), np.uint8), fps=2)
    for source in (frames, str(folder / "none.mp4")):
        example = Example(id="x", question_type="f", query=Query.about(Clip(source), "?"), answer="y")
        assert MediaHashes().of(example) == {}


def test_a_frame_folder_counts_frame_by_frame(tmp_path):
    (tmp_path / "frames").mkdir()
    for index in range(3):
        write_image(tmp_path / "frames" / f"{index}.png", np.full((5, 7, 3), index, np.uint8))
    example = Example(id="x", question_type="f", query=Query.about(Clip(str(tmp_path / "frames")), "?"), answer="y")
    before = MediaHashes().of(example)
    assert list(before) == ["video"]
    write_image(tmp_path / "frames" / "1.png", np.full((5, 7, 3), 9, np.uint8))
    assert MediaHashes().of(example) != before


def test_a_file_without_media_can_be_read_but_not_continued(folder, tmp_path):
    path = tmp_path / "r.jsonl"
    resumed(Files(folder), path)
    old = path.read_text().replace('"version": 2', '"version": 1', 1)
    path.write_text(old)
    assert len(read_predictions(path)[1]) == 5
    with pytest.raises(PredictionError, match="written by an older version, which did not record the media"):
        PredictionFile(path, {"task": {"name": "files"}, "model": {"model": "says"}, "decoding": {}})
    assert path.read_text() == old


def test_contra4_says_by_which_rule_answers_are_read() -> None:
    assert Contra4Task([question()]).describe()["answer_rule"] == ANSWER_RULE


# -- what a model says about itself is part of the prediction file


def test_whatever_changes_a_models_answers_changes_its_description():
    pipe = vidweave.load("tiny-base")
    model = pipe.model
    spec = model.spec
    ((name, stream),) = spec.streams.items()
    specs = {
        "as it is": spec,
        "frames": replace(spec, streams={name: replace(stream, need=replace(stream.need, num_frames=11))}),
        "prompt": replace(spec, layout=replace(spec.layout, label_separator=" / ")),
        "decoding": replace(spec, decoding={**spec.decoding, "max_new_tokens": 77}),
    }
    described = {}
    for title, other in specs.items():
        twin = copy.copy(model)
        twin.spec = other
        described[title] = SlotPipeline(twin).describe()
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1
    described["weights"] = pipe.describe()
    assert len({str(facts) for facts in described.values()}) == len(described), described
