import sys

import pytest
import torch

from vidweave.errors import ConfigError, MissingExtraError
from vidweave.language.adapters import add_lora, merge_lora
from vidweave.language.causal import CausalConfig
from vidweave.language.seq2seq import Seq2SeqConfig

LLAMA = {
    "model_type": "llama",
    "vocab_size": 30,
    "hidden_size": 24,
    "intermediate_size": 28,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
T5 = {
    "model_type": "t5",
    "vocab_size": 30,
    "d_model": 20,
    "d_kv": 6,
    "d_ff": 26,
    "num_layers": 2,
    "num_heads": 3,
    "decoder_start_token_id": 0,
}
CONFIGS = {"llama": CausalConfig(config=LLAMA), "t5": Seq2SeqConfig(config=T5)}


def logits(model):
    ids = torch.arange(5)[None]
    more = {"decoder_input_ids": ids} if model.side == "right" else {}
    with torch.no_grad():
        return model.model(input_ids=ids, **more).logits


@pytest.mark.parametrize(("family", "matrices"), [("llama", 4), ("t5", 12)])
def test_adapters_start_at_nothing_train_and_merge(family, matrices):
    torch.manual_seed(0)
    model = CONFIGS[family].build().eval()
    names, before = set(model.state_dict()), logits(model)
    new = add_lora(model, rank=3)
    assert len(new) == 2 * matrices  # encoder, decoder and cross-attention of T5
    torch.testing.assert_close(logits(model), before)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name in new:
            parameters[name].normal_()
    changed = logits(model)
    assert not torch.allclose(changed, before, atol=1e-2)
    assert merge_lora(model) == matrices
    assert set(model.state_dict()) == names
    torch.testing.assert_close(logits(model), changed, atol=1e-3, rtol=1e-3)
    assert merge_lora(model) == 0


def test_what_is_missing_is_reported(monkeypatch):
    gpt2 = CausalConfig(config={"model_type": "gpt2", "vocab_size": 30, "n_embd": 12, "n_layer": 1, "n_head": 2})
    with pytest.raises(ConfigError, match="which matrices of a 'gpt2' model get adapters"):
        add_lora(gpt2.build())
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"LoRA on a language model needs peft; .*vidweave\[train\]"):
        add_lora(CONFIGS["llama"].build())
