"""The recipe of tiny-merv: encoders, language model and rows are made, train only what they say, and load again."""

import json

import pytest
import torch
from safetensors.torch import load_file

import vidweave
from vidweave.pipelines.slot import SlotPipeline
from vidweave.recipes.tiny.merv_parts.clips import NUM_FACTS, with_facts
from vidweave.systems.merv.rows import own_weights
from vidweave.tiny.fact_vectors import FactVectors
from vidweave.tiny.token_classes import SPEEDS
from vidweave.toyworld.attributes import TEXTURES
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import sample_scene
from vidweave.training.loop import train
from vidweave.training.recipe import recipe_run

# trains small models: tens of seconds
pytestmark = pytest.mark.slow

RECIPE = "tiny/merv"
SMALL = ["clips=6", "clips_per_step=4", "evaluation_examples=1", "aim_steps=2", "question_steps=2", "encoder_steps=2"]
SMALL += ["encoder_batch=4", "encoder_scenes=5", "lesson_steps=1", "reading_steps=1", "figure_scenes=4"]


def made(part, parts):
    run = recipe_run(RECIPE, [*SMALL, f"part={part}", f"parts={parts}"])
    return run, train(run, parts / part, has_progress=False, has_events=False)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("merv")
    for part in ("encoder-detail", "encoder-tempo", "language"):
        made(part, folder)
    return folder


@pytest.fixture(scope="module", params=["attention", "detail"])
def row(request, parts):
    return request.param, *made(request.param, parts)


def test_a_row_trains_ports_mixer_and_special_trunks(row):
    name, run, _ = row
    for stage in run.stages:
        (learnt,) = stage.trainable(run.model).values()
        roots = {".".join(key.split(".")[2:4]) for key in learnt}
        special = {f"trunks.{encoder}" for encoder in ("detail", "tempo") if name == "attention" or encoder == name}
        ports = {f"ports.{encoder}" for encoder in run.model.model.encoders}
        assert roots == special | ports | ({"fusion.weighting"} if name == "attention" else set())
    base = vidweave.load("tiny-base").model.connector.trunks["qformer"].state_dict()
    if name == "attention":
        kept = run.model.model.connector.trunks["general"].state_dict()
        assert all(torch.allclose(kept[key], base[key], atol=1e-3) for key in base)


def test_what_is_written_is_what_was_trained(row):
    name, run, result = row
    folder = result.out / "assets" / ("tiny-merv" if name == "attention" else "tiny-merv-rows")
    facts = json.loads((folder / ("asset.json" if name == "attention" else f"{name}.json")).read_text())
    assert (facts["part"], "texture" in facts["figures"]) == (name, True)
    assert facts.get("parts", {}).keys() == ({"detail", "tempo", "language_model"} if name == "attention" else set())
    if name != "attention":
        written, own = load_file(folder / f"{name}.safetensors"), own_weights(run.model.model)
        assert written.keys() == own.keys()
        assert all(torch.equal(written[key].float(), own[key]) for key in own)
        return
    model = vidweave.load(folder).model
    clip = vidweave.Clip(render(sample_scene(3), "video"))
    asked = {"question": "What colour is the circle?", "options": ("red", "blue", "green")}
    answer, expected = SlotPipeline(model).ask(clip, **asked), SlotPipeline(run.model.model.eval()).ask(clip, **asked)
    scores = [sorted((o.text, o.score) for o in a.options) for a in (answer, expected)]
    for (text, score), (other, known) in zip(*scores, strict=True):
        assert text == other
        assert score == pytest.approx(known, abs=1e-3)


def test_the_vectors_report_texture_and_speed_where_something_is():
    vectors = FactVectors(NUM_FACTS, 8)
    labels = torch.tensor([[[2, -1], [-1, -1], [0, 1], [-1, -1]]])
    added = with_facts(vectors, torch.zeros(1, 6, 8), labels)[0]
    texture, speed = vectors.vectors.split([len(TEXTURES), len(SPEEDS)])
    torch.testing.assert_close(added[0], texture[2])
    torch.testing.assert_close(added[2], texture[0] + speed[1])
    assert not added[[1, 3, 4, 5]].any()
