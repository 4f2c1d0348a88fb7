"""Toy-world questions as data: balanced, unseen, repeatable; and the folder that was written."""

import json
from collections import Counter

import numpy as np
import pytest

from vidweave.data.jsonl import MAX_LINE_CHARS, read_jsonl
from vidweave.data.schema import Example
from vidweave.data.toyworld import ToyQuestions, available_question_types, read_toyworld
from vidweave.errors import AnnotationError, ConfigError, MediaNotFoundError, UnknownNameError
from vidweave.evaluation.tasks.toyworld import ToyworldTask
from vidweave.registry import TASKS
from vidweave.toyworld.files import write_toyworld
from vidweave.toyworld.questions import QUESTION_TYPES
from vidweave.toyworld.splits import SEEDS
from vidweave.types import Query

SHORT = [name for name in available_question_types() if QUESTION_TYPES[name].scope == "short"]


def test_every_question_type_has_its_number_and_every_answer_its_share():
    made = ToyQuestions(5, 13)
    assert Counter(made.question_types) == dict.fromkeys(available_question_types(), 13)
    answers = {name: Counter() for name in available_question_types()}
    for _, asked in made._plan:
        answers[asked.question_type][asked.answer] += 1
        assert asked.answer in asked.options
    for name, counts in answers.items():
        shares = [counts[answer] for answer in QUESTION_TYPES[name].answers]
        assert max(shares) - min(shares) <= 1, name


def test_scenes_are_of_the_test_split_and_worlds_share_none():
    seeds = [{seed for seed, _ in ToyQuestions(world, 5)._plan} for world in (0, 1, 99)]
    assert not seeds[0] & seeds[1]
    assert not seeds[1] & seeds[2]
    for seed in set.union(*seeds):
        assert seed in SEEDS["test"]
        assert seed not in SEEDS["train"]
        assert seed not in SEEDS["validation"]


def test_items_repeat_exactly_and_ids_are_unique():
    one, two = (ToyQuestions(3, 4, question_types=["colour", "motion", "order"]) for _ in range(2))
    assert one.ids == two.ids
    assert len(set(one.ids)) == len(one) == 12
    for i in (0, 7, 11, 3):
        a, b = one[i], two[i]
        assert (a.id, a.query.text, a.query.options, a.answer) == (b.id, b.query.text, b.query.options, b.answer)
        assert a.question_type == one.question_types[i]
        frames = a.query.scenes[0].clip["video"]
        assert np.array_equal(frames.values, b.query.scenes[0].clip["video"].values)
        assert len(frames) == (16 if a.scope == "short" else 300)


def test_clips_hold_what_is_asked_for():
    example = ToyQuestions(3, 2, question_types=["distance"], modalities=("video", "depth"), size=32)[1]
    clip = example.query.scenes[0].clip
    assert set(clip) == {"video", "depth"}
    assert clip["depth"].values.shape == (16, 32, 32, 1)
    assert example.needs == {"depth"}


def test_what_cannot_be_made():
    with pytest.raises(UnknownNameError, match="unknown question type 'color'; did you mean 'colour'"):
        ToyQuestions(0, 3, question_types=["color"])
    with pytest.raises(ConfigError, match="at least 1 example per question type, got 0"):
        ToyQuestions(0, 0)


def write_line(folder, **changes):
    folder.mkdir(exist_ok=True)
    line = {
        "clip": "clips/00001.mp4",
        "question": "What colour is the ring?",
        "options": ["red", "blue"],
        "answer": "blue",
        "question_type": "colour",
        "needs": ["video"],
        "scope": "short",
    }
    line.update(changes)
    text = json.dumps({name: value for name, value in line.items() if value is not ...})
    with (folder / "questions.jsonl").open("a", encoding="utf-8") as file:
        file.write(text + "\n")


def test_a_written_world_is_read_in_order(tmp_path):
    write_line(tmp_path)
    write_line(tmp_path, clip="clips/00002.mp4", question_type="texture", encoder="speciality")
    one, two = read_toyworld(tmp_path)
    assert (one.id, one.answer, one.needs, one.scope, one.encoder) == (
        "colour/clips/00001",
        "blue",
        {"video"},
        "short",
        "general",
    )
    assert one.query.scenes[0].clip["video"] == tmp_path / "clips" / "00001.mp4"
    assert (two.question_type, two.encoder) == ("texture", "speciality")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": "green"}, "the answer 'green' is not among the options 'red', 'blue'"),
        ({"answer": ...}, "'answer' is missing; found clip, needs, options, paths, question, question_type, scope"),
        ({"options": "red"}, "'options' must be list, got 'red'"),
        ({"options": ["red", "red"]}, "options repeat: 'red'"),
        ({"question": " "}, "the question is empty"),
        ({"clip": "../x.mp4"}, "is outside the folder"),
        ({"clip": "/etc/passwd"}, "is outside the folder"),
        ({"paths": {"depth": "../d.npy"}}, "the clip has no audio; it has depth, video"),
        ({"paths": {"audio": "../a.wav"}}, "the file '../a.wav' is outside the folder"),
        ({"paths": ["a.wav"]}, "'paths' must be dict"),
    ],
)
def test_lines_that_cannot_be_used_are_named(tmp_path, changes, message):
    write_line(tmp_path, paths={"audio": "a.wav"})
    write_line(tmp_path, **{"paths": {"audio": "a.wav"}, **changes})
    with pytest.raises(AnnotationError, match=r"questions.jsonl:2: .*" + message):
        read_toyworld(tmp_path, ("video", "audio"))


def test_an_item_that_repeats_is_named(tmp_path):
    write_line(tmp_path)
    write_line(tmp_path)
    with pytest.raises(AnnotationError, match=r"questions.jsonl:2: 'colour/clips/00001' appears twice"):
        read_toyworld(tmp_path)


def test_a_world_that_was_written_and_one_in_memory_ask_the_same(tmp_path):
    report = write_toyworld(tmp_path / "w", seed=6, num_clips=3, modalities=("video", "depth"))
    examples = read_toyworld(tmp_path / "w", ("video", "depth"))
    assert len(examples) == report.num_questions > 20
    assert all(path.is_file() for e in examples for path in e.query.scenes[0].clip.values())
    asked = {(e.question_type, e.query.text, e.query.options, e.answer) for e in examples}
    made = ToyQuestions(6, 1, question_types=SHORT)
    first = made._plan[0][0]
    same = [q for seed, q in made._plan if seed == first and q.needs <= {"video", "depth"}]
    assert {(q.question_type, q.text, q.options, q.answer) for q in same} <= asked


def test_lines_that_are_no_objects(tmp_path):
    path = tmp_path / "q.jsonl"
    for content, message in [
        (b'{"a": 1}\n\n{"a"', "q.jsonl:3: not JSON"),
        (b"[1]", "q.jsonl:1: expected a JSON object"),
        (b"\xff\xfe", "q.jsonl:1: not JSON"),
        (b"x" * (MAX_LINE_CHARS + 5), "q.jsonl:1: the line is longer than"),
        (b"[" * 100_000, "q.jsonl:1: not JSON"),
    ]:
        path.write_bytes(content)
        with pytest.raises(AnnotationError, match=message):
            list(read_jsonl(path))
    with pytest.raises(MediaNotFoundError, match="does not exist"):
        read_toyworld(tmp_path / "none")


def test_an_example_knows_its_answer():
    with pytest.raises(AnnotationError, match="example 'x' has no answer"):
        Example(id="x", question_type="f", query=Query.about("a.mp4", "?"), answer=" ")


def test_the_task_is_registered_and_says_what_it_is(tmp_path):
    task = TASKS.get("toyworld")(seed=4, examples=2, question_types=["colour", "count"])
    assert task.describe() == {
        "name": "toyworld",
        "question_types": ["colour", "count"],
        "modalities": ["video"],
        "seed": 4,
        "examples": 2,
    }
    assert [task.example(i).id for i in range(4)] == list(task.ids())
    write_line(tmp_path)
    from_folder = ToyworldTask(data=tmp_path)
    assert list(from_folder.ids()) == ["colour/clips/00001"]
    assert from_folder.example(0).answer == "blue"
    assert len(from_folder.describe()["questions_sha256"]) == 64
    with pytest.raises(ConfigError, match="determines seed, examples; omit them"):
        ToyworldTask(data=tmp_path, seed=0, examples=3)
    with pytest.raises(ConfigError, match="no question of type shape"):
        ToyworldTask(data=tmp_path, question_types=["shape"])
