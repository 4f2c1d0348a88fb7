"""Families: right answers, balanced options, and chance for whoever reads only the text."""

from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest

from vidweave.errors import UnknownNameError
from vidweave.toyworld import questions as q
from vidweave.toyworld.scene import sample_scene

NUM_SCENES = 1500
AVAILABLE = sorted(name for name, question_type in q.QUESTION_TYPES.items())


@pytest.fixture(scope="module")
def asked():
    """QuestionType → questions, over many scenes."""
    result = defaultdict(list)
    for length in ("short", "long"):
        names = [n for n, f in q.QUESTION_TYPES.items() if f.scope == length]
        for seed in range(NUM_SCENES):
            for one in q.questions(sample_scene(seed, length=length), question_types=names):
                result[one.question_type].append(one)
    return result


def within_chance(right: int, total: int, chance: float) -> bool:
    """Whether `right` of `total` lies within 4 standard deviations of chance."""
    return abs(right - total * chance) <= 4 * np.sqrt(total * chance * (1 - chance)) + 1


@pytest.mark.parametrize("name", AVAILABLE)
def test_options_hold_the_answer_once_and_its_place_is_even(name, asked):
    question_type, result = q.QUESTION_TYPES[name], asked[name]
    assert len(result) > NUM_SCENES / 5
    places = Counter()
    for one in result:
        assert len(set(one.options)) == len(one.options) == question_type.num_options
        assert set(one.options) <= set(question_type.answers)
        places[one.options.index(one.answer)] += 1
    assert all(within_chance(places[i], len(result), question_type.chance) for i in range(question_type.num_options))


@pytest.mark.parametrize("name", AVAILABLE)
def test_answers_are_even(name, asked):
    """Each answer is right as often as every other, among the questions that offer it."""
    question_type = q.QUESTION_TYPES[name]
    for answer in question_type.answers:
        offered = [one for one in asked[name] if answer in one.options]
        assert within_chance(sum(one.answer == answer for one in offered), len(offered), question_type.chance), answer


@pytest.mark.parametrize("name", AVAILABLE)
def test_reading_the_text_does_not_help(name, asked):
    """The most frequent answer of each text and option set, trained on one half, is at chance on the other."""
    question_type, result = q.QUESTION_TYPES[name], asked[name]
    half = len(result) // 2
    for key in (lambda one: one.text, lambda one: tuple(sorted(one.options)), lambda one: one.options):
        seen = defaultdict(Counter)
        for one in result[:half]:
            seen[key(one)][one.answer] += 1
        right = 0
        for one in result[half:]:
            ranked = sorted(one.options, key=lambda o: -seen[key(one)][o])
            right += ranked[0] == one.answer
        assert within_chance(right, len(result) - half, question_type.chance)


@pytest.mark.parametrize("name", AVAILABLE)
def test_another_clips_answer_is_at_chance(name, asked):
    """What is true in the next clip tells nothing: its answer, where offered, else the first option."""
    question_type, result = q.QUESTION_TYPES[name], asked[name]
    right = 0
    for one, other in pairwise(result):
        guess = other.answer if other.answer in one.options else one.options[0]
        right += guess == one.answer
    assert within_chance(right, len(result) - 1, question_type.chance)


def test_questions_repeat_with_their_seed():
    scene = sample_scene(3)
    assert q.questions(scene) == q.questions(scene)
    assert any(q.questions(scene, seed=s) != q.questions(scene) for s in range(1, 5))
    assert [o.question_type for o in q.questions(scene, question_types=["count"])] == ["count"]
    with pytest.raises(UnknownNameError, match="did you mean 'count'"):
        q.questions(scene, question_types=["coutn"])


def test_question_types_are_found_by_their_tags():
    base = q.question_types(needs={"video"}, scope="short", encoder="general")
    assert {"colour", "shape", "motion", "count"} <= set(base)
    assert "texture" not in base
    assert set(q.question_types()) == set(q.QUESTION_TYPES)
    assert set(q.question_types(needs={"thermal"})) == {"temperature"}
    assert set(q.question_types(scope="long")) == {n for n, f in q.QUESTION_TYPES.items() if f.scope == "long"}
    assert all(f.is_available for f in q.question_types().values())


def test_a_question_type_without_its_renderer_is_not_asked(monkeypatch):
    monkeypatch.delitem(q.RENDERERS, "thermal")
    assert not q.QUESTION_TYPES["temperature"].is_available
    assert "temperature" not in q.question_types()
    assert all(one.question_type != "temperature" for one in q.questions(sample_scene(3)))


def test_answers_are_true():
    for seed in range(60):
        scene = sample_scene(seed)
        for one in q.questions(scene, question_types=["colour", "shape"]):
            named = [o for o in scene.objects if one.answer in (o.colour, o.shape)]
            assert any(o.shape in one.text or o.colour in one.text for o in named)
    scene = sample_scene(2, length="long")
    texts = {one.question_type: one for s in range(20) for one in q.questions(scene, seed=s, question_types=["order"])}
    assert texts["order"].answer in [o.colour for o in scene.objects]
