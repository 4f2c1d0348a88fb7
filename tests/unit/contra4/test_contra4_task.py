"""Contra4 as a task: what is shown in each view."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.contra4.contra4_media import brightness, clip_of
from tests.unit.contra4.contra4_questions import question
from vidweave.contra4.task import Contra4Task, chooses_answer, question_facets
from vidweave.errors import ConfigError

QUESTIONS = [question(n, scenes=2 + n % 3, answer=n % 2, category="Other") for n in range(6)]


def test_a_question_is_a_query_about_labelled_scenes() -> None:
    example = Contra4Task(QUESTIONS, locate=clip_of).example(1)
    assert [scene.label for scene in example.query.scenes] == ["Scene A", "Scene B", "Scene C"]
    assert [next(iter(scene.clip)) for scene in example.query.scenes] == ["audio", "point_cloud", "image"]
    assert tuple(example.query.options) == ("Scene A", "Scene B", "Scene C")
    assert (example.answer, example.question_type, example.id) == ("Scene B", "mc_3", "q1")
    assert example.query.extra["captions"] == ("thing ", "thing x", "thing xx")
    assert example.facets == {
        "selection": "random",
        "scenes": "mc_3",
        "modalities": "audio+image+pc",
        "answer modality": "pc",
        "answer label": "Scene B",
        "category": "Other",
    }
    assert "category" not in question_facets(question())


def test_without_media_clips_hold_names_only() -> None:
    task = Contra4Task(QUESTIONS)
    assert task.example(0).query.scenes[0].clip["audio"] == "s/0-0"
    assert task.describe()["media"] is False


def test_a_question_with_a_missing_scene_is_left_out_and_counted() -> None:
    task = Contra4Task(QUESTIONS, locate=lambda scene: None if scene.key == ("s", "3-1") else clip_of(scene))
    assert (task.num_left_out, len(task.ids())) == (1, 5)
    with pytest.raises(ConfigError, match="none of the 6 questions has all its media; see vidweave contra4 doctor"):
        Contra4Task(QUESTIONS, locate=lambda scene: None)


def test_every_order_moves_scenes_answer_and_captions_together() -> None:
    task = Contra4Task(QUESTIONS[:2], locate=clip_of, view="orders")
    assert len(task.ids()) == len(set(task.ids())) == 2 + 6
    for index, name in enumerate(task.ids()):
        example, order = task.example(index), name.split("/")[1]
        asked = QUESTIONS[int(name[1])]
        place = example.query.options.index(example.answer)
        assert int(order[place]) == asked.answer
        assert example.query.extra["captions"][place] == asked.scenes[asked.answer].caption
        assert brightness(example.query.scenes[place].clip) == brightness(clip_of(asked.scenes[asked.answer]))


def test_the_question_alone_keeps_modalities_and_shows_nothing() -> None:
    task = Contra4Task(QUESTIONS, locate=clip_of, view="text_only")
    for index in range(6):
        given, blank = Contra4Task(QUESTIONS, locate=clip_of).example(index), task.example(index)
        assert set(blank.query.extra["captions"]) == {""}
        assert [set(s.clip) for s in blank.query.scenes] == [set(s.clip) for s in given.query.scenes]
    clips = {m: s.clip[m] for s in task.example(2).query.scenes for m in s.clip}
    assert not clips["audio"].samples.any()
    assert clips["image"].values.shape == (1, 12, 14, 3)
    assert set(np.unique(clips["image"].values)) == {127}
    assert clips["video"].values.shape == (5, 12, 14, 3)
    assert np.linalg.norm(clips["point_cloud"].coordinates, axis=1) == pytest.approx(np.ones(7), abs=1e-6)


def test_scenes_of_other_questions_have_the_modality_and_are_foreign() -> None:
    task = Contra4Task(QUESTIONS, locate=clip_of, view="other_scenes", seed=3)
    again = Contra4Task(QUESTIONS, locate=clip_of, view="other_scenes", seed=3)
    for index, asked in enumerate(QUESTIONS):
        example = task.example(index)
        own = {brightness(clip_of(scene)) for scene in asked.scenes}
        assert [next(iter(s.clip)) for s in example.query.scenes] == [s.clip_modality for s in asked.scenes]
        assert not own & {brightness(scene.clip) for scene in example.query.scenes}
        assert example.answer == asked.answer_label
        assert example.query.extra["captions"] == again.example(index).query.extra["captions"]
    with pytest.raises(ConfigError, match="use more questions"):
        Contra4Task(QUESTIONS[:1], view="other_scenes").example(0)


def test_given_captions_stand_in_for_the_files_and_are_part_of_the_run() -> None:
    reply = {scene.key: f"said of {scene.id}" for q in QUESTIONS for scene in q.scenes}
    task = Contra4Task(QUESTIONS, captions=reply)
    assert task.example(0).query.extra["captions"] == ("said of 0-0", "said of 0-1")
    assert task.describe() != Contra4Task(QUESTIONS).describe()
    with pytest.raises(ConfigError, match="the captions file has no caption for s '0-0'"):
        Contra4Task(QUESTIONS, captions={}).example(0)


def test_the_judge_reads_labels() -> None:
    example = Contra4Task(QUESTIONS).example(1)
    assert [chooses_answer(example, text) for text in ("scene b.", "B", "It is A", "Scene D", "")] == [
        True,
        True,
        False,
        False,
        False,
    ]
