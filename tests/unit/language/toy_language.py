"""A toy tokenizer, toy language models and toy blocks."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from vidweave.language.causal import CausalConfig
from vidweave.language.seq2seq import Seq2SeqConfig
from vidweave.types import Blocks, Embeds

WORDS = """Frame 1 2 3 4 5 6 7 8 9 : Question what is it ? Options Answer A B C D . , yes no Audio 3D Model Scene Choose from
red green blue the of movie USER ASSISTANT In Out image video audio end"""
SHARED = {"vocab_size": 67, "pad_token_id": 0, "eos_token_id": 1}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 90,
    "bos_token_id": 2,
    **SHARED,
}
QWEN2 = LLAMA | {"model_type": "qwen2", "tie_word_embeddings": True}
QWEN3 = LLAMA | {"model_type": "qwen3", "head_dim": 10}
OPT = {
    "model_type": "opt",
    "hidden_size": 24,
    "ffn_dim": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 90,
    "word_embed_proj_dim": 18,
    "bos_token_id": 2,
    "dropout": 0.0,
    **SHARED,
}
T5 = {
    "model_type": "t5",
    "d_model": 24,
    "d_kv": 6,
    "d_ff": 40,
    "num_layers": 2,
    "num_heads": 4,
    "feed_forward_proj": "gated-gelu",
    "dense_act_fn": "gelu",
    "tie_word_embeddings": False,
    "dropout_rate": 0.0,
    **SHARED,
}
BART = {
    "model_type": "bart",
    "d_model": 24,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 90,
    "bos_token_id": 2,
    "decoder_start_token_id": 1,
    "dropout": 0.0,
    **SHARED,
}
CAUSAL = {"llama": LLAMA, "qwen2": QWEN2, "qwen3": QWEN3, "opt": OPT}
SEQ2SEQ = {"t5": T5, "bart": BART}


def make_model(name: str):
    """A tiny language model with weights large enough that its choices are far from ties."""
    torch.manual_seed(11)
    cls, data = (CausalConfig, CAUSAL[name]) if name in CAUSAL else (Seq2SeqConfig, SEQ2SEQ[name])
    model = cls(config=data).build().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.copy_(torch.randn_like(parameter) * 0.35)
    return model


def pad_embeds(rows: list[torch.Tensor], side: str, labels: list[list[int]] | None = None) -> Embeds:
    """The slow reference: rows (S_b, D), padded with a value that must not matter."""
    size = max(map(len, rows))
    values = torch.full((len(rows), size, rows[0].shape[1]), 3.0)
    mask = torch.zeros(len(rows), size, dtype=torch.bool)
    positions = torch.zeros(len(rows), size, dtype=torch.int64)
    marks = torch.full((len(rows), size), -100)
    for b, row in enumerate(rows):
        where = slice(size - len(row), size) if side == "left" else slice(0, len(row))
        values[b, where], mask[b, where], positions[b, where] = row, True, torch.arange(len(row))
        if labels is not None:
            marks[b, where] = torch.tensor(labels[b])
    return Embeds(values, mask, positions, marks if labels is not None else None)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One id per word or mark; <s> is 2, </s> is 1."""
    vocab = {word: i for i, word in enumerate(["<pad>", "</s>", "<s>", "<unk>", *dict.fromkeys(WORDS.split())])}
    inner = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, **special)


def make_blocks(
    rows: list[tuple[int, int, int]], *, tokens: int = 2, width: int = 5, segments: int | None = None
) -> Blocks:
    """Blocks with one row per (item, scene, segments); all tokens of existing segments are real."""
    size = segments or max((n for _, _, n in rows), default=1)
    mask = torch.zeros(len(rows), size, tokens, dtype=torch.bool)
    for r, (_, _, count) in enumerate(rows):
        mask[r, :count] = True
    item = torch.tensor([i for i, _, _ in rows], dtype=torch.int64)
    scene = torch.tensor([s for _, s, _ in rows], dtype=torch.int64)
    return Blocks(torch.randn(len(rows), size, tokens, width), mask, torch.zeros(len(rows), size, 2), item, scene)
