"""Captions name what is there; a fact sheet holds the answer of every question type, and only of the modalities it is limited to."""

from dataclasses import fields, replace

import numpy as np
import pytest

from vidweave.toyworld.captions import caption, fact_sheet, short_caption
from vidweave.toyworld.questions import QUESTION_TYPES, questions
from vidweave.toyworld.scene import sample_scene


def test_captions_name_every_object():
    for seed in range(30):
        scene = sample_scene(seed)
        full, short = caption(scene), short_caption(scene)
        for obj in scene.objects:
            assert f"a {obj.colour} {obj.shape}" in short
            assert obj.shape in full
            assert obj.colour in full
        assert full.count(".") == len(scene.objects)


@pytest.mark.parametrize("length", ["short", "long"])
@pytest.mark.parametrize(
    "attribute",
    ["shape", "colour", "size", "texture", "spin", "temperature", "relief", "firmness", "consistency", "distance"],
)
def test_a_fact_sheet_names_every_attribute(length, attribute):
    scene = sample_scene(6, length=length)
    sheet = fact_sheet(scene, rng=np.random.default_rng(0))
    assert sheet == fact_sheet(scene, rng=np.random.default_rng(0))
    assert all(getattr(o, attribute) in sheet for o in scene.objects)
    assert attribute in {f.name for f in fields(scene.objects[0])}


def test_a_limited_sheet_holds_its_modalities_alone():
    scene = sample_scene(11)
    seen = fact_sheet(scene, modalities=["video"])
    assert not any(word in seen for word in ("near", "far", "hot", "cold", "warm", "beep", "turns", "dented"))
    hidden = {"distance": "far", "spin": "left", "temperature": "hot", "relief": "dented", "pitch": "low"}
    other = replace(scene, objects=tuple(replace(o, **hidden) for o in scene.objects))
    assert seen == fact_sheet(other, modalities=["video"])
    felt = fact_sheet(scene, modalities=["depth", "audio"])
    assert not any(o.colour in felt for o in scene.objects)
    assert all(f"{o.shape} {o.distance}" in felt for o in scene.objects)
    assert "beep" in felt


def test_a_sheet_distinguishes_one_from_many():
    sheets = {len(s.objects): fact_sheet(s) for s in map(sample_scene, range(30))}
    assert sheets[1].startswith("1 object;")
    assert sheets[3].startswith("3 objects;")


def test_scenes_with_equal_sheets_have_equal_answers():
    """What a sheet does not tell (places in pixels, seeds) never decides an answer."""
    for length in ("short", "long"):
        names = [n for n, f in QUESTION_TYPES.items() if f.scope == length]
        for seed in range(40):
            scene = sample_scene(seed, length=length)
            moved = replace(
                scene, objects=tuple(replace(o, distance_metres=o.distance_metres + 0.1) for o in scene.objects)
            )
            assert fact_sheet(scene) == fact_sheet(moved)
            assert questions(scene, question_types=names) == questions(moved, question_types=names)
