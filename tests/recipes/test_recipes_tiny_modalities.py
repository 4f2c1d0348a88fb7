"""The recipes of the further modalities: they build, take a few steps, and write what loads."""

import json

import pytest
import torch
from safetensors.torch import load_file

import vidweave
from vidweave.model.growth import parameters_of
from vidweave.pipelines.slot import SlotPipeline
from vidweave.recipes.tiny.crema_parts.initialization import port_tokens
from vidweave.systems.tiny.crema import MODALITIES
from vidweave.systems.tiny.modalities import modality_encoders
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import sample_scene
from vidweave.training.loop import train
from vidweave.training.recipe import recipe_run

# trains small models: tens of seconds
pytestmark = pytest.mark.slow


def test_the_encoders_are_written_as_they_were_trained(tmp_path):
    small = ["pictures_steps=1", "sound_steps=1", "points_steps=1", "scenes_per_step=2", "evaluation_scenes=2"]
    run = recipe_run("tiny/modalities", small)
    learnt = {stage.name: {n for ns in stage.trainable(run.model).values() for n in ns} for stage in run.stages}
    for name, names in learnt.items():
        assert all(n.startswith((f"model.encoders.{name}.", "modality_heads.")) for n in names)
    result = train(run, tmp_path, has_progress=False, has_events=False)
    assert set(result.finish) == set(MODALITIES)
    for name, config in modality_encoders().items():
        folder = tmp_path / "assets" / f"tiny-{name}"
        encoder = config.build()
        encoder.load_state_dict(load_file(folder / "model.safetensors"))
        assert json.loads((folder / "asset.json").read_text())["steps"] == 1


SMALL = [
    "clips=3",
    "modality_clips=3",
    "clips_per_step=3",
    "sheets_per_step=2",
    "sheet_steps=1",
    "question_steps=1",
    "vector_steps=1",
    "answers_steps=1",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = recipe_run("tiny/crema", [*SMALL, "evaluation_examples=1"])
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    return run, before, train(run, tmp_path_factory.mktemp("crema"), has_progress=False, has_events=False)


def stage_named(run, name):
    return next(stage for stage in run.stages if stage.name == name)


def batch_of(run, name):
    stage = stage_named(run, name)
    examples = stage.examples(run.model)
    return stage.collate([examples[i] for i in range(stage.batch_size)])


def test_what_the_bases_hold_stays_as_it_was(trained):
    run, before, _ = trained
    frozen = (
        "model.encoders.",
        "model.connector.trunks.",
        "model.connector.ports.video.",
        "model.connector.fusion.bias",
    )
    for name, parameter in run.model.named_parameters():
        if name.startswith(frozen):
            assert torch.equal(parameter.half(), before[name].half()), name


def test_the_language_model_is_trained_to_read_and_is_frozen_before_any_modality_speaks(trained):
    run, before, _ = trained
    own = {f"model.{name}" for modality in MODALITIES for name in parameters_of(run.model.model, modality)}
    reads = {n for n in before if n.startswith(("model.language_model.", "codes."))}
    for stage in run.stages:
        (learnt,) = stage.trainable(run.model).values()
        assert set(learnt) == (reads if stage.name in ("sheets", "questions") else own), stage.name


def test_every_question_comes_with_the_modalities_that_it_needs(trained):
    run, _, _ = trained
    stage = stage_named(run, "questions")
    examples = stage.examples(run.model)
    made = [examples[i] for i in range(stage.batch_size)]
    rows = [asked for example in made for asked in example.questions]
    batch = stage.collate(made)
    for asked, has in zip(rows, batch.questions.has.tolist(), strict=True):
        assert asked.needs <= {
            "video",
            *(modality for modality, there in zip(MODALITIES, has, strict=True) if there),
        }


def test_a_modality_is_trained_on_its_own_clips_alone(trained):
    run, _, _ = trained
    root, batch = run.model, batch_of(run, "vectors")
    root.requires_grad_(True)
    losses = stage_named(run, "vectors").objective(root, batch)
    for modality in MODALITIES:
        root.zero_grad()
        losses[modality].backward(retain_graph=True)
        for other in MODALITIES:
            grads = [root.model.get_parameter(name).grad for name in parameters_of(root.model, other)]
            assert any(g is not None and bool(g.any()) for g in grads) == (other == modality)
    assert all(p.grad is None for p in root.model.language_model.parameters())


def test_what_modalities_say_in_training_is_what_the_connector_makes_of_them(trained):
    run, _, _ = trained
    model = run.model.model.eval()
    clip = vidweave.Clip(**{m: render(sample_scene(5), m) for m in ("video", *MODALITIES)})
    streams = model.processor(vidweave.Query.about(clip, "What is there?")).streams
    features = {name: model.encode_stream(name, stream) for name, stream in streams.items()}
    with torch.no_grad():
        blocks, _ = model.connector(features, torch.tensor([0]), torch.tensor([0]))
        weights = model.connector.fusion.weights
        added = sum(port_tokens(model, m, features[m].values) @ weights[m].T for m in MODALITIES)
        seen = port_tokens(model, "video", features["video"].values)
    info = seen + torch.nn.functional.silu(added)
    torch.testing.assert_close(blocks["video"].values[:, 0], info, atol=1e-4, rtol=1e-4)


def test_the_asset_loads_beside_its_bases_and_answers_as_the_trained_model(trained):
    run, _, result = trained
    model = vidweave.load(result.out / "assets" / "tiny-crema").model
    clip = vidweave.Clip(**{m: render(sample_scene(3), m) for m in ("video", *MODALITIES)})
    asked = {"question": "Is the circle cold, warm or hot?", "options": ("cold", "warm", "hot")}
    expected, answer = SlotPipeline(run.model.model.eval()).ask(clip, **asked), SlotPipeline(model).ask(clip, **asked)
    ours, theirs = (torch.tensor([o.score for o in x.options]) for x in (answer, expected))
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=2e-3)  # half precision
