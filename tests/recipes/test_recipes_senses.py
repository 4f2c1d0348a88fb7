"""The recipes of the further senses: they build, take a few steps, and write what loads."""

import json

import pytest
import torch
from safetensors.torch import load_file

import vidweave
from vidweave.model.growth import parameters_of
from vidweave.systems.tiny.crema import SENSES
from vidweave.systems.tiny.senses import sense_encoders
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import sample_scene
from vidweave.training.loop import train
from vidweave.training.recipe import recipe_run


def test_the_encoders_are_written_as_they_were_trained(tmp_path):
    small = ["pictures_steps=1", "sound_steps=1", "points_steps=1", "scenes_per_step=2", "evaluation_scenes=2"]
    run = recipe_run("recipes/tiny/senses.py", small)
    learnt = {stage.name: {n for ns in stage.trainable(run.model).values() for n in ns} for stage in run.stages}
    for name, names in learnt.items():
        assert all(n.startswith((f"model.encoders.{name}.", "sense_heads.")) for n in names)
    result = train(run, tmp_path, has_progress=False, has_events=False)
    assert set(result.finish) == set(SENSES)
    for name, config in sense_encoders().items():
        folder = tmp_path / "assets" / f"tiny-{name}"
        encoder = config.build()
        encoder.load_state_dict(load_file(folder / "model.safetensors"))
        assert json.loads((folder / "asset.json").read_text())["steps"] == 1


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    small = ["words_steps=1", "answers_steps=1", "clips=3", "rows_per_step=4", "evaluation_examples=1"]
    run = recipe_run("recipes/tiny/crema.py", small)
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    return run, before, train(run, tmp_path_factory.mktemp("crema"), has_progress=False, has_events=False)


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
    (words,), (answers,) = (stage.trainable(run.model).values() for stage in run.stages)
    own = {f"model.{name}" for sense in SENSES for name in parameters_of(run.model.model, sense)}
    assert set(answers) == own
    assert {n for n in words if n not in own} == {n for n in before if n.startswith("model.language_model.")}


def test_a_sense_learns_its_words_from_its_own_clips_alone(trained):
    run, _, _ = trained
    root, stage = run.model, run.stages[0]
    examples = stage.examples(root)
    batch = stage.collate([examples[i] for i in range(stage.batch_size)])
    there = {sense for sense, has in zip(SENSES, batch.has.any(0).tolist(), strict=True) if has}
    assert batch.has.sum(1).tolist() == [1] * len(batch.item)
    root.zero_grad()
    root.requires_grad_(True)
    losses = stage.objective(root, batch)
    losses["answers"].backward(retain_graph=True)
    ports = [p.grad for n, p in root.named_parameters() if ".ports." in n and ".ports.video." not in n]
    assert not any(grad is not None and bool(grad.any()) for grad in ports)
    root.zero_grad()
    losses["error"].backward()
    for sense in SENSES:
        grads = [root.model.get_parameter(name).grad for name in parameters_of(root.model, sense)]
        assert any(g is not None and bool(g.any()) for g in grads) == (sense in there)
    assert all(p.grad is None for p in root.model.language_model.parameters())


def test_the_asset_loads_beside_its_bases_and_answers_as_the_trained_model(trained):
    run, _, result = trained
    model = vidweave.load(result.out / "assets" / "tiny-crema")
    clip = vidweave.Clip(**{m: render(sample_scene(3), m) for m in ("video", *SENSES)})
    asked = {"question": "Is the circle cold, warm or hot?", "options": ("cold", "warm", "hot")}
    expected, answer = run.model.model.eval().ask(clip, **asked), model.ask(clip, **asked)
    ours, theirs = (torch.tensor([o.score for o in x.options]) for x in (answer, expected))
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=2e-3)  # half precision
