"""Each shipped recipe builds, takes a few steps in every stage, and writes assets that load."""

import pytest
import torch

import vidweave
from vidweave.errors import UnknownNameError
from vidweave.pipelines.slot import SlotPipeline
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import sample_scene
from vidweave.training.loop import train
from vidweave.training.recipe import recipe_run

# trains small models: tens of seconds
pytestmark = pytest.mark.slow

SMALL = [
    "encoder_steps=2",
    "reading_steps=2",
    "quarter_steps=2",
    "describe_steps=2",
    "lesson_steps=2",
    "question_steps=2",
    "clips=6",
    "clips_per_step=4",
    "reading_batch=8",
    "evaluation_examples=1",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("base")
    run = recipe_run("tiny/base", SMALL)
    return run, train(run, out, has_progress=False, has_events=False)


def test_stages_train_exactly_what_they_say(trained):
    run, _ = trained
    learnt = {
        stage.name: {n.rsplit(".weight")[0] for ns in stage.trainable(run.model).values() for n in ns}
        for stage in run.stages
    }
    roots = {stage: {".".join(n.split(".")[:2]) for n in names} for stage, names in learnt.items()}
    assert {n for n in roots["encoder"] if not n.startswith("heads.")} == {"model.encoders"}
    assert roots["read-llama"] == {"model.language_model"}
    assert {n for n in roots["quarters"] if not n.startswith("quarter_heads.")} == {"model.connector"}
    assert roots["names"] == roots["relations"] == {"model.language_model"}
    assert {n for n in roots["questions"] if not n.startswith("quarter_heads.")} == {
        "model.connector",
        "model.language_model",
    }
    assert {n.split(".")[0] for n in roots["read-t5"]} == {"t5"}


def test_the_assets_load_and_answer_as_the_trained_model_does(trained):
    run, result = trained
    model = vidweave.load(result.out / "assets" / "tiny-base").model
    clip = vidweave.Clip(render(sample_scene(3), "video"))
    asked = {"question": "What colour is the circle?", "options": ("red", "blue", "green")}
    expected = SlotPipeline(run.model.model.eval()).ask(clip, **asked)
    answer = SlotPipeline(model).ask(clip, **asked)
    assert [o.text for o in answer.options] == [o.text for o in expected.options]
    ours, theirs = (torch.tensor([o.score for o in x.options]) for x in (answer, expected))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert set(result.finish) == {
        "colour",
        "shape",
        "size",
        "motion",
        "change",
        "count",
        "exists",
        "left_right",
        "above_below",
    }


def test_a_misspelt_setting_lists_near_matches():
    with pytest.raises(UnknownNameError, match=r"'encoder_step'; did you mean 'encoder_steps'"):
        recipe_run("tiny/base", ["encoder_step=3"])
