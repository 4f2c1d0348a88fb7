"""Where an answer ends: all end tokens of a model's files, and those that training teaches."""

import json

import pytest
import torch
from toy_language import LLAMA, T5
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from vidweave.errors import CheckpointError, ConfigError
from vidweave.language.causal import CausalConfig
from vidweave.language.pretrained import source_config, transformers_config
from vidweave.language.seq2seq import Seq2SeqConfig
from vidweave.types import Embeds

FAMILIES = {
    "causal": (CausalConfig, LLAMA, AutoModelForCausalLM),
    "seq2seq": (Seq2SeqConfig, T5, AutoModelForSeq2SeqLM),
}


@pytest.fixture(params=FAMILIES)
def written(request, tmp_path):
    """A folder as transformers writes it, whose generation_config.json alone names a second end token."""
    config_class, data, auto = FAMILIES[request.param]
    torch.manual_seed(3)
    model = auto.from_config(transformers_config(data, [data["model_type"]], request.param)).eval()
    model.generation_config.eos_token_id = [1, 9]
    if request.param == "seq2seq":
        model.generation_config.decoder_start_token_id = 0
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["eos_token_id"] == 1
    return config_class, tmp_path, model


def ending(model, token):
    """Make `token` what the model says after two others, whatever it reads."""

    class Head(torch.nn.Module):
        steps = 0

        def forward(self, states):
            Head.steps += 1
            logits = states.new_zeros(*states.shape[:-1], 67)
            logits[..., token if Head.steps == 3 else 20 + Head.steps] = 9.0
            return logits

    Head.steps = 0
    model.model.lm_head = Head()
    return model


def test_an_end_token_of_generation_config_ends_the_answer(written):
    config_class, folder, theirs = written
    config = config_class(config=source_config(str(folder)))
    assert config.config["eos_token_id"] == [1, 9]
    assert config_class.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    model = config.build().eval()
    assert model.end_tokens == (1, 9) == tuple(theirs.generation_config.eos_token_id)
    prompt = Embeds(torch.randn(1, 4, 24), torch.ones(1, 4, dtype=torch.bool), torch.arange(4)[None])
    for token in (1, 9):
        ids = ending(model, token).generate(prompt, max_new_tokens=8)
        assert ids.tolist() == [[21, 22, token]]
    assert ending(model, 30).generate(prompt, max_new_tokens=8).shape == (1, 8)


def test_without_the_file_or_with_the_same_token_nothing_changes(written):
    _, folder, _ = written
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 1}))
    assert source_config(str(folder))["eos_token_id"] == 1
    (folder / "generation_config.json").unlink()
    assert source_config(str(folder))["eos_token_id"] == 1


@pytest.mark.parametrize("text", ['{"eos_token_id": "two"}', '{"eos_token_id": [1, true]}', "[]", "{"])
def test_a_bad_file_is_named(written, text):
    _, folder, _ = written
    (folder / "generation_config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"cannot read generation_config\.json of"):
        source_config(str(folder))


def test_an_end_that_the_model_does_not_stop_at_is_refused(written):
    config_class, folder, _ = written
    model = config_class(config=source_config(str(folder))).build()
    model.require_end(9, "the chat format")
    with pytest.raises(
        ConfigError,
        match=r"the chat format ends answers with token 5, at which .* does not stop \(it stops at 1, 9\); add",
    ):
        model.require_end(5, "the chat format")
