"""Toy-world Contra4, end to end: what the pipeline keeps is right about the scenes, not only about their captions."""

import os
import re

import pytest

from vidweave.contra4.blind import by_modality, score, uniform_score
from vidweave.contra4.doctor import examine
from vidweave.contra4.media import Media
from vidweave.contra4.pipeline import run
from vidweave.contra4.schema import read_questions
from vidweave.contra4.toy import NUMBERS, modality_caption, toy_facts
from vidweave.errors import AnnotationError, ConfigError
from vidweave.toyworld.scene import sample_scene
from vidweave.types.recipe import read_recipe

MODALITIES = ("audio", "video", "depth", "flow", "thermal", "normals", "touch", "pc")


def made(folder, *overrides):
    recipe, settings = read_recipe("contra4/toy", overrides)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        return run(recipe(**settings), folder, progress=False)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return made(tmp_path_factory.mktemp("toy"), "per_combination=13", "media=25")


def right_scenes(question):
    """Places of the scenes of which the question is true."""
    facts = [toy_facts(scene) for scene in question.scenes]
    if summary := re.search(r"holds a (\w+)\?", question.question):
        return [i for i, fact in enumerate(facts) if summary[1] in fact.shapes]
    if summary := re.search(r"has exactly (\w+) of something\?", question.question):
        return [i for i, fact in enumerate(facts) if fact.count == NUMBERS.index(summary[1]) + 1]
    assert question.question == "Which scene has the most of something?"
    return [i for i, fact in enumerate(facts) if fact.count == max(fact.count for fact in facts)]


def test_every_question_has_one_answer_and_it_is_right(result):
    questions = read_questions(result.questions)
    assert len(questions) > 60
    for question in questions:
        assert right_scenes(question) == [question.answer], question
        assert question.category in ("Shape", "Number")


def test_filters_take_out_what_is_wrong(result):
    rows = {entry["name"]: entry["rows"] for entry in result.stages}
    tally = {entry["name"]: entry["tally"] for entry in result.stages}["filters"]
    assert tally["passed raw"] == rows["verification"] == 2 * 11 * 13
    assert tally["passed unanimous_permute"] == rows["filters"] < 0.8 * tally["passed raw"]
    assert tally["passed majority_permute"] > tally["passed unanimous_permute"]


def test_modalities_alone_are_guessing(result):
    questions = read_questions(result.questions)
    for order in (MODALITIES, MODALITIES[::-1], ("flow", "video", "audio", "depth")):
        assert score(by_modality(order), questions) == pytest.approx(uniform_score(questions))


def test_scenes_are_rendered_on_access(result):
    questions = read_questions(result.questions)[:5]
    assert {examined.status for examined in examine(questions, Media())} == {"ok"}
    query = Media().query(questions[0])
    assert [next(iter(scene.clip)) for scene in query.scenes] == [s.clip_modality for s in questions[0].scenes]


def test_all_modalities(tmp_path):
    requested = '["' + '","'.join(MODALITIES) + '"]'
    result = made(tmp_path, "per_combination=1", "media=9", f"modalities={requested}")
    questions = read_questions(result.questions)
    assert len({modality for question in questions for modality in question.modalities}) > 4
    assert {modality for question in questions for modality in question.modalities} <= set(MODALITIES)
    assert all(right_scenes(question) == [question.answer] for question in questions)


def test_words_of_the_modalities():
    scene = sample_scene(11)
    shapes = [thing.shape for thing in scene.objects]
    for modality in MODALITIES[1:]:
        caption = modality_caption(scene, modality)
        assert caption.startswith(NUMBERS[len(shapes) - 1])
        assert [word for word in re.findall(r"\w+", caption) if word in shapes] == shapes
    assert re.fullmatch(r"(one|two|three|four) (low|middle|high) beeps?", modality_caption(scene, "audio"))
    with pytest.raises(ConfigError, match="toyworld has no captions for 'image'"):
        modality_caption(scene, "image")


def test_what_is_no_toy_scene(result):
    scene = read_questions(result.questions)[0].scenes[0]
    for changes in ({"id": "a"}, {"modality": "image"}):
        with pytest.raises(AnnotationError, match="is not a toyworld scene"):
            toy_facts(type(scene)(**{**vars(scene), **changes}))
