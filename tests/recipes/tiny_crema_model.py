"""Sizes and words of a tiny CREMA, for tests of its recipe."""

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from vidweave.connectors.qformer import QFormerConfig
from vidweave.systems.crema.preset import Sizes

WORDS = "Frame Question Option what is it a cat dog A B 1 2 3 4 : ? .".split()
SIZES = Sizes(
    vision={
        "model_type": "blip_2_vision_model", "hidden_size": 14, "intermediate_size": 18, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 28, "patch_size": 14, "layer_norm_eps": 1e-6,
    },
    qformer=QFormerConfig(hidden=16, layers=2, heads=2, intermediate=20, encoder_width=14),
    language={
        "model_type": "t5", "vocab_size": 60, "d_model": 20, "d_kv": 6, "d_ff": 36, "num_layers": 1,
        "num_decoder_layers": 1, "num_heads": 3, "feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu",
        "tie_word_embeddings": False, "decoder_start_token_id": 0, "eos_token_id": 2, "pad_token_id": 0,
    },
    num_query_tokens=3,
    rank=2,
)  # fmt: skip


def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<unk>", "</s>", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
