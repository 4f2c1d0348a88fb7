"""Both families: batch = one by one, cached = uncached, score = full forward, loss by formula, seeds, warnings."""

import json

import pytest
import torch
from torch.nn import functional as F
from toy_language import CAUSAL, LLAMA, SEQ2SEQ, T5, make_model, pad_embeds

from vidweave.errors import CheckpointError, ConfigError, QueryError, ShapeError, UnknownNameError
from vidweave.language.causal import CausalConfig
from vidweave.language.pretrained import source_config
from vidweave.language.seq2seq import Seq2SeqConfig
from vidweave.registry import LANGUAGE_MODELS
from vidweave.types import TextTokens, component_from_dict

LENGTHS = (5, 9, 1, 7)
SETTINGS = {
    "greedy": {"max_new_tokens": 7},
    "beams": {"max_new_tokens": 6, "num_beams": 3, "length_penalty": -1.0, "num_return_sequences": 2},
    "penalised": {"max_new_tokens": 7, "repetition_penalty": 1.5, "min_new_tokens": 3},
    "beams_penalised": {"max_new_tokens": 5, "num_beams": 2, "repetition_penalty": 1.5, "early_stopping": True},
    "ngrams": {"max_new_tokens": 7, "no_repeat_ngram_size": 2},
}


@pytest.fixture(scope="module", params=[*CAUSAL, *SEQ2SEQ])
def model(request):
    return make_model(request.param)


@pytest.fixture
def rows(model):
    torch.manual_seed(5)
    return [torch.randn(n, model.width) for n in LENGTHS]


def trim(ids, end=1, pad=0):
    """Token ids up to and with the end token."""
    ids = ids.tolist()
    return ids[: ids.index(end) + 1] if end in ids else [*ids]


@pytest.mark.parametrize("name", SETTINGS)
def test_generate_in_a_batch_is_generate_one_by_one(model, rows, name):
    together = model.generate(pad_embeds(rows, model.side), **SETTINGS[name])
    alone = [model.generate(pad_embeds([row], model.side), **SETTINGS[name]) for row in rows]
    per = SETTINGS[name].get("num_return_sequences", 1)
    assert together.shape[0] == per * len(rows)
    for b, ids in enumerate(alone):
        for n in range(per):
            assert trim(together[b * per + n]) == trim(ids[n])


@pytest.mark.parametrize("name", ["greedy", "beams"])
def test_generate_with_cache_is_generate_without(model, rows, name):
    embeds = pad_embeds(rows, model.side)
    cached = model.generate(embeds, **SETTINGS[name])
    assert cached.tolist() == model.generate(embeds, **SETTINGS[name], use_cache=False).tolist()


def test_greedy_follows_next_logits(model, rows):
    """The first generated token is the best of next_logits, which prefill knows too."""
    embeds = pad_embeds(rows, model.side)
    with torch.no_grad():
        logits, prefix = model.next_logits(embeds), model.prefill(embeds)
    torch.testing.assert_close(prefix.next_logits, logits)
    assert model.generate(embeds, max_new_tokens=1)[:, 0].tolist() == logits.argmax(-1).tolist()


def test_sampling_depends_on_the_seed_alone(model, rows):
    embeds = pad_embeds(rows, model.side)
    settings = {"do_sample": True, "top_k": 0, "max_new_tokens": 6, "num_return_sequences": 2}
    first = model.generate(embeds, seed=4, **settings)
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    assert model.generate(embeds, seed=4, **settings).tolist() == first.tolist()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert model.generate(embeds, seed=5, **settings).tolist() != first.tolist()


def test_min_and_max_new_tokens(model, rows):
    """With an end token that would always win, the minimum still holds."""
    embeds = pad_embeds(rows, model.side)
    ids = model.generate(embeds, max_new_tokens=5, min_new_tokens=4)
    assert 4 <= ids.shape[1] <= 5
    assert not (ids[:, :4] == 1).any()


def reference_logprobs(model, row, option):
    """Log-probabilities of an option's tokens by one forward pass without padding, cache or sharing."""
    ids = torch.tensor([option])
    if model.side == "left":
        whole = torch.cat([row[None], model.embed(ids)], 1)
        logits = model.model(inputs_embeds=whole).logits[:, len(row) - 1 : -1]
    else:
        start = torch.full((1, 1), model.model.config.decoder_start_token_id)
        logits = model.model(inputs_embeds=row[None], decoder_input_ids=torch.cat([start, ids[:, :-1]], 1)).logits
    return logits.log_softmax(-1)[0].gather(1, ids.T)[:, 0]


OPTIONS = [[[4, 5, 6], [7]], [[8, 9]], [], [[10, 11, 12, 13], [14, 15], [16], [7, 7, 7]]]


def test_scores_equal_full_forwards(model, rows):
    with torch.no_grad():
        prefix = model.prefill(pad_embeds(rows, model.side))
        got = {settings: model.score(prefix, OPTIONS, normalize=settings) for settings in ("sum", "mean")}
        for b, options in enumerate(OPTIONS):
            want = [reference_logprobs(model, rows[b], option) for option in options]
            torch.testing.assert_close(
                torch.tensor(got["sum"][b]), torch.tensor([w.sum() for w in want]), atol=2e-5, rtol=2e-5
            )
            torch.testing.assert_close(
                torch.tensor(got["mean"][b]), torch.tensor([w.mean() for w in want]), atol=2e-5, rtol=2e-5
            )


def test_scores_with_a_sliding_window_equal_full_forwards():
    """The window is shorter than the prompt: the repeated cache must keep its own count of positions."""
    torch.manual_seed(2)
    data = LLAMA | {"model_type": "mistral", "sliding_window": 4, "head_dim": 6}
    model = (
        CausalConfig(config={k: v for k, v in data.items() if k not in ("attention_bias", "mlp_bias")}).build().eval()
    )
    rows = [torch.randn(n, model.width) for n in LENGTHS]
    with torch.no_grad():
        got = model.score(model.prefill(pad_embeds(rows, "left")), OPTIONS)
        for b, options in enumerate(OPTIONS):
            want = [float(reference_logprobs(model, rows[b], option).sum()) for option in options]
            assert got[b] == pytest.approx(want, abs=2e-5)


def test_scoring_leaves_the_prefix_as_it_was(model, rows):
    with torch.no_grad():
        prefix = model.prefill(pad_embeds(rows, model.side))
        first = model.score(prefix, OPTIONS)
        assert model.score(prefix, OPTIONS) == first
        if model.side == "left":
            assert prefix.state.get_seq_length() == max(LENGTHS)


def test_scoring_needs_options_that_fit(model, rows):
    with torch.no_grad():
        prefix = model.prefill(pad_embeds(rows, model.side))
    with pytest.raises(ShapeError, match="options are given for 1 items, the prompt has 4"):
        model.score(prefix, [[[3]]])
    with pytest.raises(QueryError, match="an option has no token"):
        model.score(prefix, [[[3], []], [], [], []])
    with pytest.raises(ConfigError, match="must be 'sum' or 'mean', got 'max'"):
        model.score(prefix, OPTIONS, normalize="max")
    assert model.score(prefix, [[], [], [], []]) == [[], [], [], []]


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("side", ["left"])
def test_causal_loss_is_the_mean_over_target_tokens(name, side):
    model = make_model(name)
    torch.manual_seed(3)
    ids = [[4, 5, 6, 7, 8], [9, 10, 11], [12, 13, 14, 15, 16, 17, 18]]
    labels = [[-100, -100, 6, 7, 8], [9, 10, 11], [-100] * 5 + [17, 18]]
    rows = [model.embed(torch.tensor(row)) for row in ids]
    loss = model.loss(pad_embeds(rows, side, labels))
    want = []
    for row, marks in zip(rows, labels, strict=True):
        logits = model.model(inputs_embeds=row[None]).logits[0]
        want += [F.cross_entropy(logits[s - 1], torch.tensor(m)) for s, m in enumerate(marks) if m >= 0 and s > 0]
    assert len(want) == 3 + 2 + 2  # the first token of row 1 has nothing before it
    torch.testing.assert_close(loss, torch.stack(want).mean(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CAUSAL)
def test_causal_loss_gives_each_prompt_embedding_a_gradient(name):
    model = make_model(name)
    embeds = pad_embeds(
        [torch.randn(6, model.width), torch.randn(3, model.width)], "left", [[-100] * 4 + [5, 6], [-100, 7, 1]]
    )
    embeds.values.requires_grad_()
    model.loss(embeds).backward()
    reached = embeds.values.grad.abs().sum(-1) > 0
    assert reached[:, :-1].tolist() == embeds.mask[:, :-1].tolist()
    assert not reached[:, -1].any()  # the last token predicts nothing


@pytest.mark.parametrize("name", SEQ2SEQ)
def test_seq2seq_loss_is_the_mean_over_real_target_tokens(name):
    model = make_model(name)
    torch.manual_seed(3)
    rows = [torch.randn(n, model.width) for n in (4, 6)]
    targets = [[4, 5, 1], [6, 7, 8, 9, 1]]
    padded = TextTokens(
        torch.tensor([[4, 5, 1, 33, 33], targets[1]]), torch.tensor([[True] * 3 + [False] * 2, [True] * 5])
    )
    want = torch.cat([reference_logprobs(model, row, target) for row, target in zip(rows, targets, strict=True)])
    torch.testing.assert_close(model.loss(pad_embeds(rows, "right"), padded), -want.mean(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", SEQ2SEQ)
def test_seq2seq_generates_from_a_prefix_without_reading_again(name):
    model = make_model(name)
    embeds = pad_embeds([torch.randn(n, model.width) for n in (4, 6)], "right")
    prefix = model.prefill(embeds)
    assert model.generate(prefix, max_new_tokens=5).tolist() == model.generate(embeds, max_new_tokens=5).tolist()


def test_t5_agrees_with_transformers_own_reading_of_ids():
    """embed + generate is what transformers does with input_ids."""
    model = make_model("t5")
    ids = torch.tensor([[4, 9, 22, 1], [8, 3, 1, 0]])
    rows = [model.embed(ids[0]), model.embed(ids[1, :3])]
    with torch.no_grad():
        own = model.model.generate(
            input_ids=ids, attention_mask=(ids != 0).long(), decoder_start_token_id=0, max_new_tokens=6, do_sample=False
        )
    assert model.generate(pad_embeds(rows, "right"), max_new_tokens=6).tolist() == own[:, 1:].tolist()


def test_flan_t5_has_an_output_matrix_of_its_own(tmp_path):
    """transformers 5 ties it; a saved model must come back with both matrices."""
    model = make_model("t5")
    inner = model.model
    assert inner.lm_head.weight is not inner.shared.weight
    assert inner.encoder.embed_tokens.weight is inner.shared.weight
    inner.tie_weights()
    assert inner.lm_head.weight is not inner.shared.weight
    tied = Seq2SeqConfig(config=T5 | {"tie_word_embeddings": True}).build().model
    assert tied.lm_head.weight is tied.shared.weight


def test_a_folder_reports_its_configuration(tmp_path):
    inner = make_model("t5").model
    inner.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    data = json.loads(path.read_text()) | {"task_specific_params": {"x": 1}, "tie_word_embeddings": False}
    path.write_text(json.dumps(data))
    result = source_config(str(tmp_path))
    assert "task_specific_params" not in result
    assert "architectures" not in result
    assert Seq2SeqConfig(config=result).build().model.state_dict().keys() == inner.state_dict().keys()
    for change, message in [
        ({"trust_remote_code": True}, "holds 'trust_remote_code'"),
        ({"model_type": "zzz"}, "type 'zzz', which transformers does not"),
    ]:
        path.write_text(json.dumps(data | change))
        with pytest.raises(CheckpointError, match=message):
            source_config(str(tmp_path))
    with pytest.raises(CheckpointError, match="cannot read the configuration of"):
        source_config(str(tmp_path / "nowhere" / "x" / "y"))


def test_a_prompt_beyond_the_positions_is_refused():
    model = make_model("llama")
    embeds = pad_embeds([torch.randn(88, model.width)], "left")
    with pytest.raises(
        ShapeError, match="the prompt has 88 positions and 3 may follow, the language model has 90; use fewer frames"
    ):
        model.generate(embeds, max_new_tokens=3)
    assert model.generate(embeds, max_new_tokens=2).shape[1] <= 2
    bart = make_model("bart")
    with pytest.raises(ShapeError, match="91 positions, the encoder has 90"):
        bart.prefill(pad_embeds([torch.randn(91, bart.width)], "right"))


def test_padding_on_the_wrong_side_is_refused():
    model = make_model("llama")
    with pytest.raises(ShapeError, match="padded on the left; splice with side='left'"):
        model.prefill(pad_embeds([torch.randn(3, model.width), torch.randn(2, model.width)], "right"))


def test_losses_without_a_target_are_refused():
    causal, t5 = make_model("llama"), make_model("t5")
    left, right = (pad_embeds([torch.randn(3, m.width)], m.side) for m in (causal, t5))
    marked = pad_embeds([torch.randn(3, t5.width)], "right", [[-100, -100, 4]])
    target = TextTokens(torch.tensor([[4]]), torch.tensor([[True]]))
    with pytest.raises(ShapeError, match="has no target to train on; plan it with targets"):
        causal.loss(left)
    with pytest.raises(ShapeError, match="not on a separate target"):
        causal.loss(left, target)
    with pytest.raises(ShapeError, match="none of the 3 positions is a target"):
        causal.loss(pad_embeds([torch.randn(3, causal.width)], "left", [[4, -100, -100]]))
    with pytest.raises(ShapeError, match="needs a target with at least one token"):
        t5.loss(right)
    with pytest.raises(ShapeError, match="plan the prompt without targets"):
        t5.loss(marked, target)


def test_t5_in_bfloat16_runs():
    """transformers keeps `wo` in float32 when it loads T5; casting everything must run all the same."""
    model = make_model("t5").to(torch.bfloat16)
    embeds = pad_embeds([torch.randn(n, model.width) for n in (4, 6)], "right").to(dtype=torch.bfloat16)
    assert len(model.generate(embeds, max_new_tokens=3)) == 2
    assert torch.isfinite(torch.tensor(model.score(model.prefill(embeds), [[[4]], [[5, 6]]])[1][0]))


def test_configurations_survive_json():
    for cls, data in ((CausalConfig, LLAMA), (Seq2SeqConfig, T5)):
        config = cls(config=data)
        assert component_from_dict(LANGUAGE_MODELS, config.to_dict()) == config


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ({"auto_map": {"AutoConfig": "evil.py"}}, CheckpointError, "holds 'auto_map', which can run code"),
        ({"_attn_implementation_internal": "evil/kernel"}, CheckpointError, "can run code from elsewhere"),
        ({"attn_implementation": "evil/kernel"}, CheckpointError, "holds 'attn_implementation', which can run code"),
        ({"rope_parameters": {"x": [{"trust_remote_code": True}]}}, CheckpointError, "holds 'trust_remote_code'"),
        ({"_secret": 1}, ConfigError, "no field '_secret'"),
        ({"hiden_size": 8}, ConfigError, "no field 'hiden_size'; did you mean 'hidden_size'"),
        ({"model_type": "lama"}, ConfigError, "needs a model_type that is causal, got 'lama'; did you mean"),
        ({"model_type": "t5"}, ConfigError, "needs a model_type that is causal, got 't5'"),
        ({"model_type": None}, ConfigError, "got None"),
        ({"hidden_size": "wide"}, ConfigError, "is wrong: .*hidden_size"),
        ({"model_type": "qwen2", "num_hidden_layers": 10**8}, ConfigError, "has num_hidden_layers=100,000,000"),
        ({"num_attention_heads": 5}, ConfigError, "is wrong: .*not a multiple"),
    ],
)
def test_hostile_and_wrong_configurations_are_refused(bad, error, message):
    with pytest.raises(error, match=message):
        CausalConfig(config=LLAMA | bad)


def test_metadata_of_a_config_file_is_dropped():
    config = CausalConfig(
        config=LLAMA | {"architectures": ["X"], "transformers_version": "4.1", "torch_dtype": "float16"}
    )
    assert config.build().model.lm_head.weight.dtype == torch.float32


def test_a_decoder_without_a_start_token_is_refused():
    with pytest.raises(ConfigError, match="needs a token to start from; give decoder_start_token_id"):
        Seq2SeqConfig(config=T5 | {"pad_token_id": None})


def test_unknown_and_senseless_generation_settings_are_refused():
    model = make_model("llama")
    embeds = pad_embeds([torch.randn(3, model.width)], "left")
    with pytest.raises(UnknownNameError, match="'max_new_token'; did you mean 'max_new_tokens'"):
        model.generate(embeds, max_new_token=3)
    for settings, message in [
        ({"temperature": 0.5}, "no effect without sampling; add do_sample=True"),
        ({"num_return_sequences": 2}, "set num_beams=2 or do_sample=True"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"min_new_tokens": 40}, r"min_new_tokens \(40\) is above max_new_tokens \(32\)"),
        ({"do_sample": True, "top_p": 0.0}, r"top_p in \(0, 1\]"),
        ({"num_beams": "three"}, "num_beams must be int"),
    ]:
        with pytest.raises(ConfigError, match=message):
            model.generate(embeds, **settings)


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_it_builds_on_the_meta_device(name):
    cls, data = (CausalConfig, CAUSAL[name]) if name in CAUSAL else (Seq2SeqConfig, SEQ2SEQ[name])
    with torch.device("meta"):
        model = cls(config=data).build()
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert model.width == 24
