"""Configurations of language models shared by several systems, with transformers' names."""

__all__ = ["BLIP2_FLAN_T5_XL", "FLAN_T5_XL", "LLAMA2_7B", "VICUNA_13B", "VICUNA_7B"]

LLAMA2_7B = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

# Vicuna v1.1 as used by LAVIS: `</s>` is the begin, end and unknown token; a padding token is added.
VICUNA_7B = {
    "model_type": "llama",
    "vocab_size": 32001,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "bos_token_id": 2,
    "eos_token_id": 2,
    "pad_token_id": 32000,
}
VICUNA_13B = {
    **VICUNA_7B,
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
}
FLAN_T5_XL = {
    "model_type": "t5",
    "vocab_size": 32128,
    "d_model": 2048,
    "d_kv": 64,
    "d_ff": 5120,
    "num_layers": 24,
    "num_heads": 32,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
    "decoder_start_token_id": 0,
}
# BLIP-2 loads Flan-T5 with the exact GELU instead of the tanh approximation that Flan-T5 was trained with.
BLIP2_FLAN_T5_XL = {**FLAN_T5_XL, "dense_act_fn": "gelu"}
