"""A modality is added to a model: it answers as before to the bit, is saved and read back, and only its part is trained."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import tiny_config, with_processor

from vidweave.connectors.fusion import ConcatFusionConfig
from vidweave.connectors.gated_fusion import GatedAppendConfig
from vidweave.connectors.modality_adapters import AdapterConfig
from vidweave.encoders.patch import PatchEncoderConfig
from vidweave.errors import ConfigError, ModalityError, UnknownNameError
from vidweave.language.layout import Slot, TemplateLayout
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import VideoLanguageConfig
from vidweave.model.growth import add_modality, parameters_of
from vidweave.pipelines.slot import SlotPipeline
from vidweave.types import Clip, Frames, Query, VisualSpec

QUESTION = "what colour is the circle ?"
SMALL = AdapterConfig(rank=2)


def clip(*modalities):
    return Clip(**{name: frames(seed) for seed, name in enumerate(modalities)})


def frames(seed):
    values = np.random.default_rng(seed).integers(0, 255, (5, 20, 20, 3), dtype=np.uint8)
    return Frames(values, np.arange(5) / 5, np.arange(5))


def scores(model, *modalities):
    answer = SlotPipeline(model).ask(clip(*modalities), QUESTION, options=["red", "blue"])
    return [option.score for option in answer.options]


@pytest.fixture(params=["causal", "seq2seq"])
def model(request):
    return with_processor(tiny_config(request.param))


def test_answers_stay_bit_identical(model):
    before = scores(model, "video")
    grown = add_modality(model, "depth", adapter=SMALL)
    assert scores(grown, "video") == before
    assert scores(grown, "video", "depth") == before  # it has trained nothing yet
    twice = add_modality(grown, "touch", like="depth")
    assert scores(twice, "video") == scores(twice, "video", "depth", "touch") == before
    assert twice.spec.connector.fusion.members(()) == ("video", "depth", "touch")


def test_no_token_more(model):
    grown = add_modality(model, "depth", adapter=SMALL)
    traces = [SlotPipeline(grown).ask(clip(*names), QUESTION).trace for names in (("video",), ("video", "depth"))]
    assert traces[0].tokens == traces[1].tokens
    assert list(traces[1].panels["gates"][0]["share"]) == ["depth"]


def test_an_appended_gate_grows_too(model):
    spec = add_modality(model, "depth", adapter=SMALL).spec
    layout = TemplateLayout(parts=(Slot(block="video"), Slot(block="fused", optional=True), *spec.layout.parts[2:]))
    fusion = GatedAppendConfig(streams=("video", "depth"))
    spec = replace(spec, layout=layout, connector=replace(spec.connector, fusion=fusion))
    base = with_processor(VideoLanguageConfig(spec, name="appended"))
    grown = add_modality(base, "touch", like="depth")
    for names in (("video",), ("video", "depth")):
        assert scores(grown, *names) == scores(base, *names)
    assert scores(grown, "video", "depth", "touch") == scores(base, "video", "depth")


def test_saved_and_read_back(model, tmp_path):
    grown = add_modality(model, "depth", adapter=SMALL)
    with torch.no_grad():
        for name in parameters_of(grown, "depth"):
            grown.get_parameter(name).normal_()
    grown.save_pretrained(tmp_path)
    again = VideoLanguageModel.from_pretrained(tmp_path)
    assert scores(again, "video", "depth") == scores(grown, "video", "depth") != scores(grown, "video")


def test_a_fresh_model_starts_its_adapters_at_zero(model):
    """transformers starts all linear layers of a fresh model anew; adapters must stay as they are."""
    fresh = VideoLanguageModel(add_modality(model, "depth", adapter=SMALL).config)
    loras = fresh.connector.ports["depth"].adapter.sites().values()
    assert len(loras) == 4
    assert all(not lora.up.any() and lora.down.any() for lora in loras)


def test_only_its_own_part_is_its_own(model):
    grown = add_modality(model, "depth", adapter=SMALL)
    own = parameters_of(grown, "depth")
    old = {name for name, _ in model.named_parameters()}
    new = {name for name, _ in grown.named_parameters()} - old
    assert set(own) == new - {"connector.fusion.bias"}
    with pytest.raises(UnknownNameError, match="unknown stream 'deph'; did you mean 'depth'"):
        parameters_of(grown, "deph")


def test_training_it_leaves_the_answers_without_it_alone(model):
    grown = add_modality(model, "depth", adapter=SMALL)
    before = scores(grown, "video")
    own = set(parameters_of(grown, "depth"))
    for name, parameter in grown.named_parameters():
        parameter.requires_grad_(name in own)
    optimizer = torch.optim.SGD([p for p in grown.parameters() if p.requires_grad], lr=0.1)
    inputs = grown.processor([Query.about(clip("video", "depth"), QUESTION)], targets=["red"])
    grown(inputs).loss.backward()
    optimizer.step()
    assert scores(grown, "video") == before
    assert scores(grown, "video", "depth") != before


def test_with_an_encoder_of_its_own(model):
    encoder = PatchEncoderConfig(
        size=8, patch=4, width=6, layers=1, heads=2, specs={"thermal": VisualSpec(height=8, width=8)}
    )
    weights = encoder.build().state_dict()
    grown = add_modality(
        model, "thermal", adapter=SMALL, encoder=encoder, encoder_weights=weights, input_width=6, input_proj=12
    )
    assert scores(grown, "video", "thermal") == scores(model, "video")
    saved = grown.state_dict()
    assert all(torch.equal(saved[f"encoders.thermal.{key}"], value) for key, value in weights.items())


def test_what_it_refuses(model):
    with pytest.raises(UnknownNameError, match="unknown modality 'deph'; did you mean 'depth'"):
        add_modality(model, "deph")
    with pytest.raises(UnknownNameError, match="unknown connector stream 'vidoe'; did you mean 'video'"):
        add_modality(model, "depth", like="vidoe")
    grown = add_modality(model, "depth")
    with pytest.raises(ConfigError, match="has a stream 'depth' already"):
        add_modality(grown, "depth")
    with pytest.raises(ModalityError, match=r"touch was given, but no stream of this model"):
        SlotPipeline(grown).ask(clip("video", "touch"), QUESTION)


def test_a_concat_fusion_needs_a_place():
    config = tiny_config("causal")
    spec = config.parse()
    connector = replace(spec.connector, fusion=ConcatFusionConfig(name="video", streams=("video",)))
    model = with_processor(type(config)(replace(spec, connector=connector), name="c"))
    with pytest.raises(
        ConfigError, match=r"neither the fusion \(concat\) nor the prompt layout has a place for 'depth'"
    ):
        add_modality(model, "depth", adapter=SMALL)
