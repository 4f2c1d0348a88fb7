"""Every family of vision towers and language models, saved and read back bit for bit."""

import pytest
import torch
from slot_models import CAUSAL, TOWERS, randomise, tower_model
from tiny_models import T5, tiny_config, toy_tokenizer

from vidweave.encoders.families import FAMILIES
from vidweave.language.causal import CausalConfig
from vidweave.language.seq2seq import Seq2SeqConfig
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.processor import Processor
from vidweave.pipelines.slot import SlotPipeline
from vidweave.types import Clip


def test_every_family_is_tried():
    assert TOWERS.keys() == FAMILIES.keys()


@pytest.mark.parametrize("model_type", sorted(FAMILIES))
def test_a_model_with_this_tower_comes_back(model_type, frames, tmp_path):
    _check(tower_model(model_type), frames, tmp_path)


@pytest.mark.parametrize("name", sorted(CAUSAL))
def test_a_model_with_this_causal_language_model_comes_back(name, frames, tmp_path):
    config = tiny_config("causal", language_model=CausalConfig(config=CAUSAL[name]))
    _check(VideoLanguageModel(config), frames, tmp_path)


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_with_t5_comes_back(tied, frames, tmp_path):
    config = tiny_config("seq2seq", language_model=Seq2SeqConfig(config=T5 | {"tie_word_embeddings": tied}))
    _check(VideoLanguageModel(config), frames, tmp_path)


def _check(model, frames, folder):
    """Equal weights, buffers (also those that are not saved) and option scores."""
    randomise(model).processor = Processor(model.config, {"language": toy_tokenizer()})
    model.save_pretrained(folder)
    again = VideoLanguageModel.from_pretrained(folder).eval()
    for kind in ("named_parameters", "named_buffers"):
        ours, theirs = dict(getattr(model, kind)()), dict(getattr(again, kind)())
        assert ours.keys() == theirs.keys()
        for name, tensor in ours.items():
            assert torch.equal(tensor, theirs[name]), name
    asked = {"question": "what is the circle ?", "options": ("red", "blue green")}
    assert (
        SlotPipeline(again).ask(Clip(frames), **asked).options == SlotPipeline(model).ask(Clip(frames), **asked).options
    )
