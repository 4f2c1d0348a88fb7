"""Long clips as training data: labels say what the scene says, and equal frames are looked at once."""

import numpy as np
import pytest

from vidweave.errors import ConfigError
from vidweave.tiny.long_clips import (
    ANSWERS,
    LONG_QUESTION_TYPES,
    VISIT_LABELS,
    LongQuestions,
    distinct_frames,
    visit_labels,
)
from vidweave.tiny.scenes import train_scene
from vidweave.toyworld import attributes as a
from vidweave.toyworld.questions import QUESTION_TYPES
from vidweave.toyworld.render import render_rgb


def test_labels_say_what_came_when():
    for index in range(30):
        scene = train_scene(index, length="long")
        labels, visits, colours = visit_labels(scene), scene.objects, list(a.COLOURS)
        assert set(labels) | {"answer"} == set(VISIT_LABELS)
        for name, classes in labels.items():
            count, (start, end) = VISIT_LABELS[name]
            assert len(classes) == end - start
            assert all(c == -100 or 0 <= c < count for c in classes)
        assert [labels["rank of colour"][colours.index(v.colour)] for v in visits] == list(range(len(visits)))
        assert [a.SHAPES[labels["shape of colour"][colours.index(v.colour)]] for v in visits] == [
            v.shape for v in visits
        ]
        info = [colours[c] for c in labels["colour of ordinal"]]
        assert info == [visits[i].colour for i in (0, 1, 2, -1)]
        assert sum(labels["count of shape"]) == len(visits)
        absent = [c for c, rank in enumerate(labels["rank of colour"]) if rank == -100]
        assert len(absent) == len(colours) - len(visits)
        assert all(labels["shape of colour"][c] == len(a.SHAPES) for c in absent)


def test_distinct_frames_stand_for_all():
    for index in range(6):
        scene = train_scene(index, length="long")
        frames = np.arange(1, 300, 3)
        chosen, where = distinct_frames(scene, frames)
        assert len(chosen) < 30
        np.testing.assert_array_equal(render_rgb(scene, frames=chosen)[where], render_rgb(scene, frames=frames))
    busy = np.arange(scene.objects[0].start_frame, scene.objects[0].end_frame)
    chosen, where = distinct_frames(scene, busy)
    np.testing.assert_array_equal(chosen[where], busy)


def test_questions_depend_on_their_number_alone():
    source, again = LongQuestions(7), LongQuestions(7)
    examples = [source[i] for i in range(60)]
    assert examples == [again[i] for i in range(60)]
    assert {e.question.question_type for e in examples} == set(LONG_QUESTION_TYPES)
    assert {e.clip for e in examples} == set(range(7))
    for example in examples:
        assert ANSWERS[example.labels["answer"][0]] == example.question.answer
    assert {answer for name in LONG_QUESTION_TYPES for answer in QUESTION_TYPES[name].answers} == set(ANSWERS)
    with pytest.raises(ConfigError, match="at least one clip, got 0"):
        LongQuestions(0)
