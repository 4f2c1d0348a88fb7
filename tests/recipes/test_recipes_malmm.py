"""The recipe of tiny-malmm: every row builds, trains only what it says, and writes a connector that loads."""

import json

import numpy as np
import pytest
import torch

import vidweave
from vidweave.errors import ConfigError
from vidweave.pipelines.slot import SlotPipeline
from vidweave.recipes.tiny.malmm import new_model
from vidweave.recipes.tiny.malmm_parts.memories import build_memories
from vidweave.recipes.tiny.malmm_parts.objectives import LongRoot, collate_clips
from vidweave.tiny.sources import SharedSource
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import sample_scene
from vidweave.training.loop import train
from vidweave.training.recipe import recipe_run

# trains small models: tens of seconds
pytestmark = pytest.mark.slow

SMALL = ["clips=5", "visit_steps=2", "answer_token_steps=2", "answer_steps=2", "batch=4", "evaluation_examples=2"]


@pytest.fixture(scope="module", params=["memory", "concat", "none"])
def trained(request, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param)
    features = tmp_path_factory.getbasetemp() / "features"
    run = recipe_run("tiny/malmm", [*SMALL, f"row={request.param}", f"features={features}"])
    return request.param, run, train(run, out, has_progress=False, has_events=False)


def test_the_connector_is_trained_and_its_bases_stay(trained):
    _, run, _ = trained
    for stage in run.stages:
        learnt = {name for names in stage.trainable(run.model).values() for name in names}
        if stage.name == "answer_tokens":
            assert learnt == {"answer_tokens.always", "answer_tokens.answers"}
            continue
        assert {name.split(".")[0] for name in learnt} <= {"model", "visit_heads"}
        assert all(name.startswith(("model.connector.", "visit_heads.")) for name in learnt)
        frozen = "model.connector.ports.video."
        assert not learnt & {f"{frozen}time_embedding", f"{frozen}input_proj.weight", f"{frozen}input_norm.weight"}
    base = vidweave.load("tiny-base").model
    for root in ("encoders", "language_model"):
        ours, theirs = (dict(m.get_submodule(root).state_dict()) for m in (run.model.model, base))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_the_asset_loads_and_answers_as_the_trained_model_does(trained):
    row, run, result = trained
    name = "tiny-malmm" if row == "memory" else f"tiny-malmm-{row}"
    folder = result.out / "assets" / name
    assert (folder / "model.safetensors").stat().st_size < 1_000_000
    model = vidweave.load(folder).model
    clip = vidweave.Clip(render(sample_scene(3, length="long"), "video"))
    asked = {"question": "What colour is the first object?", "options": ("red", "blue", "green")}
    expected, answer = SlotPipeline(run.model.model.eval()).ask(clip, **asked), SlotPipeline(model).ask(clip, **asked)
    ours, theirs = (sorted((o.text, o.score) for o in x.options) for x in (answer, expected))
    for (text, score), (other, known) in zip(ours, theirs, strict=True):
        assert text == other
        assert score == pytest.approx(known, abs=1e-3)
    facts = json.loads((folder / "asset.json").read_text())
    assert (facts["row"], set(facts["figures"])) == (row, {"first", "order", "visits"})
    assert "features" not in facts


def test_a_memory_filled_once_is_read_as_the_model_reads_the_clip():
    """What training looks at is what a user gets: same tokens from the stored memory and from the frames."""
    torch.manual_seed(0)
    root = LongRoot(new_model("memory")).eval()
    source = SharedSource(lambda root: build_memories(root, clips=4, folder=""))
    made = source(root)
    examples = [made[i] for i in range(6)]
    batch = collate_clips(root.model.processor, source, examples)
    stored = batch.encode(root)["video"].values.detach()
    queries = [
        vidweave.Query.about(vidweave.Clip(render(made.questions.scenes[e.clip], "video")), e.question.text)
        for e in examples
    ]
    inputs = root.model.processor(queries)
    features = root.model.encode_stream("video", inputs.streams["video"])
    with torch.no_grad():
        blocks, _ = root.model.connector({"video": features}, features.item, features.scene, inputs.text["trunk"])
    torch.testing.assert_close(stored, blocks["video"].values, rtol=0.05, atol=0.02)  # entries are kept in float16
    assert np.isfinite(stored.numpy()).all()


def test_a_row_that_is_none_is_named():
    with pytest.raises(ConfigError, match="row must be one of memory, fifo, mean, concat, none, got 'lifo'"):
        recipe_run("tiny/malmm", ["row=lifo"])
