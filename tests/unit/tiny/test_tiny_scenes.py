"""The toy world as training data: examples depend on their number alone, and never on test scenes."""

import numpy as np
import pytest

from vidweave.errors import ConfigError
from vidweave.tiny.scenes import ClipQuestions, FactQuestions, LabeledFrames, train_scene
from vidweave.toyworld.questions import QUESTION_TYPES
from vidweave.toyworld.splits import SEEDS


def test_training_scenes_are_of_the_training_split():
    assert all(train_scene(i).seed in SEEDS["train"] for i in (0, 5, 2**39, 2**41 + 3))


def test_frames_carry_a_label_for_every_patch():
    source = LabeledFrames(frames=3)
    example, again = source[17], source[17]
    assert example.frames.shape == (3, 48, 48, 3)
    assert example.frames.dtype == np.uint8
    assert example.labels["shape"].shape == (3, 36)
    assert example.labels["offset"].shape == (3, 36, 2)
    np.testing.assert_array_equal(example.frames, again.frames)
    assert not np.array_equal(example.frames, source[18].frames)


def test_fact_sheets_hold_the_answer_and_cover_every_question_type():
    source = FactQuestions()
    examples = [source[i] for i in range(300)]
    assert [source[i] for i in range(5)] == examples[:5]
    direct = [e for e in examples if e.question.startswith("What colour is the ") and "object" not in e.question]
    assert direct
    assert all(e.answer in e.facts for e in direct)


def test_without_other_modalities_a_sheet_reports_only_what_the_question_needs():
    source = FactQuestions(other_modalities=0.0)
    about_sound = [e for e in (source[i] for i in range(200)) if "beeps" in e.question]
    assert about_sound
    assert all("red" not in e.facts for e in about_sound)


def test_a_clip_is_encoded_once_and_asked_distinct_question_types():
    encoded = []
    source = ClipQuestions(
        5, ["colour", "shape", "count", "size"], lambda scene: encoded.append(scene.seed) or scene.seed
    )
    examples = [source[i] for i in range(40)]
    assert len(encoded) == len(set(encoded)) <= 5
    for example in examples:
        assert len({asked.question_type for asked in example.questions}) == 4
        assert all(asked.answer in asked.options for asked in example.questions)
        assert example.description.endswith(".")
    assert source[3].questions == examples[3].questions
    fewer = source.asking(["colour", "shape"], 2)
    assert {asked.question_type for i in range(40) for asked in fewer[i].questions} == {"colour", "shape"}
    assert len(encoded) <= 5


def test_more_questions_than_question_types_are_refused():
    with pytest.raises(ConfigError, match=r"per_clip must be 1 to 2 .* got 3"):
        ClipQuestions(5, list(QUESTION_TYPES)[:2], lambda scene: None, per_clip=3)
