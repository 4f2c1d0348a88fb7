"""Families: right answers, balanced options, and chance for whoever reads only the text."""

from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest

from vidweave.errors import UnknownNameError
from vidweave.toyworld import questions as q
from vidweave.toyworld.scene import sample_scene

NUM_SCENES = 1500
AVAILABLE = sorted(name for name, family in q.FAMILIES.items())


@pytest.fixture(scope="module")
def asked():
    """Family → questions, over many scenes."""
    found = defaultdict(list)
    for length in ("short", "long"):
        names = [n for n, f in q.FAMILIES.items() if f.scope == length]
        for seed in range(NUM_SCENES):
            for one in q.questions(sample_scene(seed, length=length), families=names):
                found[one.family].append(one)
    return found


def within_chance(right: int, total: int, chance: float) -> bool:
    """Whether `right` of `total` lies within 4 standard deviations of chance."""
    return abs(right - total * chance) <= 4 * np.sqrt(total * chance * (1 - chance)) + 1


@pytest.mark.parametrize("name", AVAILABLE)
def test_options_hold_the_answer_once_and_its_place_is_even(name, asked):
    family, found = q.FAMILIES[name], asked[name]
    assert len(found) > NUM_SCENES / 5
    places = Counter()
    for one in found:
        assert len(set(one.options)) == len(one.options) == family.num_options
        assert set(one.options) <= set(family.answers)
        places[one.options.index(one.answer)] += 1
    assert all(within_chance(places[i], len(found), family.chance) for i in range(family.num_options))


@pytest.mark.parametrize("name", AVAILABLE)
def test_answers_are_even(name, asked):
    """Each answer is right as often as every other, among the questions that offer it."""
    family = q.FAMILIES[name]
    for answer in family.answers:
        offered = [one for one in asked[name] if answer in one.options]
        assert within_chance(sum(one.answer == answer for one in offered), len(offered), family.chance), answer


@pytest.mark.parametrize("name", AVAILABLE)
def test_reading_the_text_does_not_help(name, asked):
    """The most frequent answer of each text and option set, learnt on one half, is at chance on the other."""
    family, found = q.FAMILIES[name], asked[name]
    half = len(found) // 2
    for key in (lambda one: one.text, lambda one: tuple(sorted(one.options)), lambda one: one.options):
        seen = defaultdict(Counter)
        for one in found[:half]:
            seen[key(one)][one.answer] += 1
        right = 0
        for one in found[half:]:
            ranked = sorted(one.options, key=lambda o: -seen[key(one)][o])
            right += ranked[0] == one.answer
        assert within_chance(right, len(found) - half, family.chance)


@pytest.mark.parametrize("name", AVAILABLE)
def test_another_clips_answer_is_at_chance(name, asked):
    """What is true in the next clip tells nothing: its answer, where offered, else the first option."""
    family, found = q.FAMILIES[name], asked[name]
    right = 0
    for one, other in pairwise(found):
        guess = other.answer if other.answer in one.options else one.options[0]
        right += guess == one.answer
    assert within_chance(right, len(found) - 1, family.chance)


def test_questions_repeat_with_their_seed():
    scene = sample_scene(3)
    assert q.questions(scene) == q.questions(scene)
    assert any(q.questions(scene, seed=s) != q.questions(scene) for s in range(1, 5))
    assert [o.family for o in q.questions(scene, families=["count"])] == ["count"]
    with pytest.raises(UnknownNameError, match="did you mean 'count'"):
        q.questions(scene, families=["coutn"])


def test_families_are_found_by_their_tags():
    base = q.families(needs={"video"}, scope="short", encoder="general")
    assert {"colour", "shape", "motion", "count"} <= set(base)
    assert "texture" not in base
    assert set(q.families()) == set(q.FAMILIES)
    assert set(q.families(needs={"thermal"})) == {"temperature"}
    assert set(q.families(scope="long")) == {n for n, f in q.FAMILIES.items() if f.scope == "long"}
    assert all(f.is_available for f in q.families().values())


def test_a_family_without_its_renderer_is_not_asked(monkeypatch):
    monkeypatch.delitem(q.RENDERERS, "thermal")
    assert not q.FAMILIES["temperature"].is_available
    assert "temperature" not in q.families()
    assert all(one.family != "temperature" for one in q.questions(sample_scene(3)))


def test_answers_are_true():
    for seed in range(60):
        scene = sample_scene(seed)
        for one in q.questions(scene, families=["colour", "shape"]):
            named = [o for o in scene.objects if one.answer in (o.colour, o.shape)]
            assert any(o.shape in one.text or o.colour in one.text for o in named)
    scene = sample_scene(2, length="long")
    texts = {one.family: one for s in range(20) for one in q.questions(scene, seed=s, families=["order"])}
    assert texts["order"].answer in [o.colour for o in scene.objects]
