"""transformers in this process: texts do not depend on their neighbours."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from vidweave.engines import Request, Sampling
from vidweave.engines.local import TransformersEngine
from vidweave.errors import CheckpointError, QueryError
from vidweave.tiny.tokenizer import train_tokenizer

WORDS = "which scene is the loudest quiet a b c d user assistant system answer with one json value"
GREEDY = Sampling(max_tokens=5)
PROMPTS = ["which scene", "which scene is the loudest", "a b c d", "quiet", "the"]


def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer([WORDS] * 9, 280)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(3)
    words = tokenizer()
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3
    )
    path = tmp_path_factory.mktemp("llama")
    LlamaForCausalLM(config).save_pretrained(path)
    words.save_pretrained(path)
    return path


def complete(engine, *prompts, arguments=GREEDY, **more):
    return engine.complete([Request(prompt=prompt, sampling=arguments, **more) for prompt in prompts])


def test_batched_is_one_by_one(folder) -> None:
    engine = TransformersEngine(str(folder), batch_size=3)
    together = complete(engine, *PROMPTS)
    assert together == [complete(engine, prompt)[0] for prompt in PROMPTS]
    assert all(0 < c.output_tokens <= 5 for c in together)
    assert [c.input_tokens for c in together] == [len(engine._tokenizer(p)["input_ids"]) for p in PROMPTS]


def test_a_drawn_text_is_decided_by_its_seed(folder) -> None:
    engine = TransformersEngine(str(folder))
    before = torch.random.get_rng_state()
    drawn = [
        complete(engine, "which scene", arguments=Sampling(temperature=1.5, max_tokens=8, seed=s))[0].text
        for s in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert torch.equal(before, torch.random.get_rng_state())


def test_drawn_texts_are_drawn_in_one_batch_and_each_as_alone(folder, monkeypatch) -> None:
    engine = TransformersEngine(str(folder), batch_size=8)
    requests = [
        Request(prompt=prompt, sampling=Sampling(temperature=1.5, max_tokens=6, seed=seed))
        for seed, prompt in enumerate(PROMPTS)
    ]
    alone = [engine.complete([request])[0].text for request in requests]
    calls, generate = [], engine._generate
    monkeypatch.setattr(
        engine, "_generate", lambda rows, *arguments: calls.append(len(rows)) or generate(rows, *arguments)
    )
    assert [done.text for done in engine.complete(requests)] == alone
    assert calls == [len(PROMPTS)]


def test_a_text_ends_before_its_stop(folder) -> None:
    engine = TransformersEngine(str(folder))
    (whole,) = complete(engine, "which scene", arguments=Sampling(max_tokens=6))
    end = whole.text.split()[1]
    (cut,) = complete(engine, "which scene", arguments=Sampling(max_tokens=6, stop=(end,)))
    assert whole.text.startswith(cut.text)
    assert end not in cut.text


def test_a_text_that_is_no_json_says_so(folder) -> None:
    (done,) = complete(TransformersEngine(str(folder)), "which scene", schema={"type": "object"})
    assert done.error.startswith("not JSON")


def test_an_encoder_decoder_answers_with_new_words_only(tmp_path) -> None:
    words = tokenizer()
    config = T5Config(
        vocab_size=len(words), d_model=24, d_kv=8, d_ff=40, num_layers=2, num_heads=3,
        pad_token_id=words.pad_token_id, eos_token_id=words.eos_token_id, decoder_start_token_id=words.pad_token_id,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    engine = TransformersEngine(str(tmp_path))
    assert complete(engine, *PROMPTS) == [complete(engine, prompt)[0] for prompt in PROMPTS]


def test_messages_take_a_chat_template(folder) -> None:
    engine = TransformersEngine(str(folder))
    messages = ({"role": "user", "content": "which scene"},)
    with pytest.raises(QueryError, match="has no chat template; give the prompt as one text"):
        complete(engine, messages)
    engine._tokenizer.chat_template = "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}assistant"
    (chatted,) = complete(engine, messages)
    (plain,) = complete(engine, "user which scene assistant")
    assert chatted.text == plain.text
    with pytest.raises(QueryError, match="only reads text"):
        complete(engine, ({"role": "user", "content": [{"type": "image_url"}]},))


def test_a_configuration_that_could_run_code_is_refused(folder, tmp_path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.Evil"}}))
    with pytest.raises(CheckpointError, match="'auto_map', which can run code from elsewhere"):
        TransformersEngine(str(tmp_path))


def test_a_folder_without_weights_is_refused(folder, tmp_path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(CheckpointError, match="cannot load the language model"):
        TransformersEngine(str(tmp_path))


def test_it_says_what_it_is(folder) -> None:
    info = TransformersEngine(str(folder)).describe()
    assert info == {"engine": "transformers", "model": str(folder), "dtype": "float32"}
