import pytest
import torch
import transformers
from transformers import (
    Blip2QFormerConfig,
    Blip2QFormerModel,
    InstructBlipQFormerConfig,
    InstructBlipQFormerModel,
)

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.qformer import MemoryQFormer, QFormerConfig
from vidweave.connectors.qformer_keys import TRANSFORMERS_BLIP2, TRANSFORMERS_INSTRUCTBLIP, connector_keys
from vidweave.errors import ConfigError, ShapeError
from vidweave.registry import TRUNKS
from vidweave.types import Features, KeepsMemory, TextSpec, TextTokens, TrunkInput, component_from_dict

SIZES = {"hidden": 24, "layers": 3, "heads": 4, "intermediate": 20, "cross_attention_frequency": 2, "encoder_width": 14}
TEXT = {"vocab_size": 31, "max_positions": 9}


def tiny(**changes):
    torch.manual_seed(3)
    return QFormerConfig(**{**SIZES, **changes})


def theirs(config_class, model_class, **extra):
    torch.manual_seed(4)
    names = {"hidden": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads"}
    names |= {"intermediate": "intermediate_size", "encoder_width": "encoder_hidden_size"}
    model = model_class(config_class(**{names.get(n, n): v for n, v in SIZES.items()}, **extra)).eval()
    for parameter in model.parameters():  # biases and norms too, so that none can be forgotten
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def masks(rows, length):
    return torch.arange(length) < torch.tensor([length, 1, length - 2][:rows])[:, None]


def test_equals_transformers_blip2():
    reference = theirs(Blip2QFormerConfig, Blip2QFormerModel)
    qformer = tiny().build().eval()
    qformer.load_state_dict(TRANSFORMERS_BLIP2.to_ours(reference.state_dict()))
    queries, keys, mask = torch.randn(3, 5, 24), torch.randn(3, 7, 14), masks(3, 7)
    expected = reference(
        query_embeds=queries, encoder_hidden_states=keys, encoder_attention_mask=mask
    ).last_hidden_state
    torch.testing.assert_close(qformer(TrunkInput(queries, keys, mask)), expected)


@pytest.mark.parametrize("length", [6, 1])
def test_equals_transformers_instructblip(length):
    extra = {"vocab_size": TEXT["vocab_size"], "max_position_embeddings": TEXT["max_positions"]}
    reference = theirs(InstructBlipQFormerConfig, InstructBlipQFormerModel, **extra)
    qformer = tiny(**TEXT).build().eval()
    qformer.load_state_dict(TRANSFORMERS_INSTRUCTBLIP.to_ours(reference.state_dict()))
    queries, keys, key_mask = torch.randn(3, 5, 24), torch.randn(3, 7, 14), masks(3, 7)
    ids, text_mask = torch.randint(1, 31, (3, length)), masks(3, length) | (torch.arange(length) == 0)
    expected = reference(
        input_ids=ids,
        attention_mask=torch.cat([torch.ones(3, 5), text_mask], 1),
        query_embeds=queries,
        encoder_hidden_states=keys,
        encoder_attention_mask=key_mask,
    ).last_hidden_state
    hidden = qformer(TrunkInput(queries, keys, key_mask, ids, text_mask))
    real = torch.cat([torch.ones(3, 5, dtype=torch.bool), text_mask], 1)
    torch.testing.assert_close(hidden[real], expected[real])


@pytest.mark.parametrize(("form", "text"), [(TRANSFORMERS_BLIP2, {}), (TRANSFORMERS_INSTRUCTBLIP, TEXT)])
def test_key_table_both_ways(form, text):
    state = tiny(**text).build().state_dict()
    there = form.to_theirs(state)
    back = form.to_ours(there)
    assert set(there) == set(back) if text else set(there) != set(state)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


def test_padded_text_does_not_matter():
    qformer = tiny(**TEXT).build().eval()
    queries, keys, mask = torch.randn(2, 5, 24), torch.randn(2, 7, 14), masks(2, 7)
    ids = torch.randint(1, 31, (2, 6))
    text_mask = torch.arange(6) < torch.tensor([[6], [2]])
    batch = qformer(TrunkInput(queries, keys, mask, ids, text_mask))
    alone = qformer(TrunkInput(queries[1:], keys[1:, :1], mask[1:, :1], ids[1:, :2], text_mask[1:, :2]))
    torch.testing.assert_close(batch[1:, :7], alone, rtol=1e-5, atol=2e-6)


def test_text_branch_without_text_runs_on_queries():
    hidden = tiny(**TEXT).build().eval()(TrunkInput(torch.randn(2, 5, 24), torch.randn(2, 7, 14), masks(2, 7)))
    assert hidden.shape == (2, 5, 24)


def test_row_without_keys_is_finite():
    queries = torch.randn(2, 5, 24, requires_grad=True)
    mask = torch.tensor([[True] * 7, [False] * 7])
    hidden = tiny().build()(TrunkInput(queries, torch.randn(2, 7, 14), mask))
    hidden.sum().backward()
    assert torch.isfinite(hidden).all()
    assert torch.isfinite(queries.grad).all()


@pytest.mark.parametrize(("vocab_size", "count"), [(0, 105_137_664), (30_523, 185_660_160)])
def test_paper_size(vocab_size, count):
    with torch.device("meta"):
        qformer = QFormerConfig(vocab_size=vocab_size).build()
    assert sum(p.numel() for p in qformer.parameters()) == count  # BLIP-2 without text; InstructBLIP
    assert not list(qformer.buffers())


def test_start_is_berts():
    qformer = QFormerConfig(layers=2, vocab_size=50).build()
    for name, parameter in qformer.named_parameters():
        if "norm" in name.lower():
            assert torch.equal(parameter, torch.full_like(parameter, float(name.endswith("weight"))))
        elif name.endswith("bias"):
            assert not parameter.any()
        else:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.05)


def test_config_round_trip():
    config = tiny(**TEXT, text_spec=TextSpec(tokenizer="bert", max_tokens=8))
    assert component_from_dict(TRUNKS, config.to_dict()) == config
    assert config.build().text_spec == config.text_spec


def test_faults():
    qformer = tiny().build()
    queries, keys, mask = torch.randn(1, 5, 24), torch.randn(1, 7, 14), masks(1, 7)
    with pytest.raises(ShapeError, match=r"needs queries \(R, Q, 24\), got none"):
        qformer(TrunkInput(None, keys, mask))
    with pytest.raises(ShapeError, match=r"needs queries \(R, Q, 24\), got \(1, 5, 23\)"):
        qformer(TrunkInput(queries[..., 1:], keys, mask))
    with pytest.raises(ShapeError, match="keys of width 14, got 13"):
        qformer(TrunkInput(queries, keys[..., 1:], mask))
    with pytest.raises(ConfigError, match="no text branch"):
        qformer(TrunkInput(queries, keys, mask, torch.ones(1, 2, dtype=torch.long)))
    with pytest.raises(ConfigError, match="QFormer takes no adapter"):
        qformer(TrunkInput(queries, keys, mask, adapter=torch.zeros(1, dtype=torch.long)))
    assert not isinstance(qformer, KeepsMemory)
    with pytest.raises(ConfigError, match="needs memory=MemoryConfig"):
        MemoryQFormer(tiny())
    with pytest.raises(ShapeError, match="text has 12 tokens, the position table 9"):
        tiny(**TEXT).build()(TrunkInput(queries, keys, mask, torch.ones(1, 12, dtype=torch.long)))
    with pytest.raises(ConfigError, match=r"hidden \(24\) must be a multiple of heads \(5\)"):
        tiny(heads=5)
    with pytest.raises(ConfigError, match="start at 1"):
        tiny(layers=0)
    with pytest.raises(ConfigError, match="vocab_size is 0"):
        tiny(text_spec=TextSpec(tokenizer="bert", max_tokens=8))
    with pytest.raises(ConfigError, match=r"max_tokens \(32\) is above max_positions \(9\)"):
        tiny(**TEXT, text_spec=TextSpec(tokenizer="bert", max_tokens=32))


@pytest.mark.parametrize("form", ["blip2", "instructblip"])
def test_connector_of_a_transformers_model(form):
    """`qformer`, `query_tokens`, `language_projection` and the vision tower's last norm make one connector."""
    name = {"blip2": "Blip2", "instructblip": "InstructBlip"}[form]
    torch.manual_seed(5)
    text = {} if form == "blip2" else TEXT
    names = {"hidden": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads"}
    names |= {"intermediate": "intermediate_size", "encoder_width": "encoder_hidden_size"}
    names |= {"max_positions": "max_position_embeddings"}
    vision = {"hidden_size": 14, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 9}
    language = {
        "model_type": "t5",
        "vocab_size": 20,
        "d_model": 10,
        "d_kv": 4,
        "d_ff": 8,
        "num_layers": 1,
        "num_heads": 2,
    }
    config = getattr(transformers, f"{name}Config")(
        vision_config={**vision, "image_size": 8, "patch_size": 4},
        qformer_config={names.get(key, key): value for key, value in (SIZES | text).items()},
        text_config=language,
        num_query_tokens=5,
        image_token_index=19,
    )
    model = getattr(transformers, f"{name}ForConditionalGeneration")(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)

    reads = {"text_spec": TextSpec(tokenizer="bert", max_tokens=9)} if text else {}
    port = PortConfig(trunk="qformer", input_width=14, input_norm=True, norm_eps=1e-6, num_query_tokens=5)
    ours = (
        ConnectorConfig(trunks={"qformer": tiny(**text, **reads)}, ports={"video": port}, output_width=10)
        .build()
        .eval()
    )
    state = {
        key: value for key, value in model.state_dict().items() if not key.startswith(("language_model", "shared"))
    }
    prefix = "model." if any(key.startswith("model.") for key in state) else ""
    state = {key.removeprefix(prefix): value for key, value in state.items()}
    tower = ("vision_model.encoder", "vision_model.embeddings", "language_model", "lm_head")
    state = {key: value for key, value in state.items() if not key.startswith(tower)}
    table = connector_keys(form)
    ours.load_state_dict(table.to_ours(state))
    assert table.to_theirs(ours.state_dict()).keys() == state.keys()

    pixels, ids = torch.randn(2, 3, 8, 8), torch.randint(1, 31, (2, 4))
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    vision_model = model.get_submodule(f"{prefix}vision_model")
    tokens = vision_model(pixels, output_hidden_states=True).hidden_states[-1]
    read = {"qformer_input_ids": ids, "qformer_attention_mask": mask} if text else {}
    expected = model.get_image_features(pixels, **read).pooler_output
    rows = torch.arange(2)
    features = Features(
        tokens[:, None], torch.ones(2, 1, 5, dtype=torch.bool), torch.zeros(2, 1, 2), rows, torch.zeros_like(rows)
    )
    blocks, _ = ours({"video": features}, rows, torch.zeros_like(rows), TextTokens(ids, mask) if text else None)
    torch.testing.assert_close(blocks["video"].values[:, 0], expected, rtol=1e-4, atol=1e-5)
