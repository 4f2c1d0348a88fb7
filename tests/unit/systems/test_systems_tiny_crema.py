"""tiny-crema's configuration: any set of modalities, never a token more, and no parameter that belongs to two."""

import pytest
import torch

import vidweave
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.growth import parameters_of
from vidweave.pipelines.slot import SlotPipeline
from vidweave.systems.tiny.crema import MODALITIES, tiny_crema
from vidweave.toyworld.questions import QUESTION_TYPES
from vidweave.toyworld.render import render
from vidweave.toyworld.scene import sample_scene


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = tiny_crema()
    model = VideoLanguageModel(config)
    model.processor = vidweave.load("tiny-base").model.processor.for_config(config)
    return model.eval()


def clip(*modalities):
    scene = sample_scene(11)
    return vidweave.Clip(**{name: render(scene, name) for name in ("video", *modalities)})


def test_it_has_every_modality_that_a_question_needs():
    needed = {modality for family in QUESTION_TYPES.values() for modality in family.needs}
    assert needed == {"video", *MODALITIES}


def test_the_number_of_tokens_does_not_grow_with_the_modalities(model):
    counts = {}
    for modalities in ((), MODALITIES[:1], MODALITIES[2:5], MODALITIES):
        answer = SlotPipeline(model).ask(clip(*modalities), "How many objects are there?", options=["1", "2"])
        counts[len(modalities)] = sum(n for block, n in answer.trace.tokens.items() if block != "text")
    assert counts == {0: 16, 1: 16, 3: 16, 7: 16}


def test_the_trace_reports_which_modality_had_which_share(model):
    answer = SlotPipeline(model).ask(clip("depth", "audio"), "Is the circle near or far?", options=["near", "far"])
    (gates,) = answer.trace.panels["gates"]
    assert set(gates["share"]) == {"depth", "audio"}
    assert sum(gates["share"].values()) == pytest.approx(1, abs=1e-4)


def test_no_parameter_belongs_to_two_modalities(model):
    own = [set(parameters_of(model, modality)) for modality in MODALITIES]
    assert sum(map(len, own)) == len(set.union(*own))
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    assert all(sum(sizes[name] for name in names) < 65_000 for names in own)


def test_some_modalities_alone_are_a_model_too():
    spec = tiny_crema(modalities=("touch", "audio")).parse()
    assert set(spec.connector_streams) == {"video", "touch", "audio"}
    assert set(spec.encoders) == {"rgb", "pictures", "sound"}
