"""Tiny models of both language families, from real parts, with random weights."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.fusion import NoFusionConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.qformer import QFormerConfig
from vidweave.encoders.patch import PatchEncoderConfig
from vidweave.language.causal import CausalConfig
from vidweave.language.layout import AnswerFormat, OptionsFormat, Slot, Special, TemplateLayout, Text
from vidweave.language.seq2seq import Seq2SeqConfig
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import ModelSpec, StreamConfig, VideoLanguageConfig
from vidweave.model.processor import Processor
from vidweave.selectors.uniform import UniformSelectorConfig
from vidweave.types import FrameNeed, VisualSpec

WORDS = "what colour is the circle square red blue green left right up down ? a b c it moves Options : . ( )".split()
LLAMA = {
    "model_type": "llama",
    "vocab_size": 40,
    "hidden_size": 24,
    "intermediate_size": 44,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
T5 = {
    "model_type": "t5",
    "vocab_size": 40,
    "d_model": 20,
    "d_kv": 6,
    "d_ff": 36,
    "num_layers": 2,
    "num_heads": 3,
    "feed_forward_proj": "gated-gelu",
    "decoder_start_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def toy_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def tiny_config(family: str, **changes) -> VideoLanguageConfig:
    pixels = VisualSpec(height=16, width=16)
    language_model = CausalConfig(config=LLAMA) if family == "causal" else Seq2SeqConfig(config=T5)
    width = 24 if family == "causal" else 20
    parts = {
        "selector": UniformSelectorConfig(),
        "encoders": {
            "rgb": PatchEncoderConfig(
                size=16, patch=8, width=12, layers=1, heads=2, specs={"video": pixels, "image": pixels}
            )
        },
        "streams": {"video": StreamConfig(encoder="rgb", modalities=("video", "image"), need=FrameNeed(num_frames=3))},
        "connector": ConnectorConfig(
            trunks={
                "qformer": QFormerConfig(
                    hidden=16,
                    layers=2,
                    heads=2,
                    intermediate=20,
                    encoder_width=12,
                    hidden_dropout=0.0,
                    attention_dropout=0.0,
                )
            },
            ports={"video": PortConfig(trunk="qformer", input_width=12, input_norm=True, num_query_tokens=5)},
            fusion=NoFusionConfig(),
            output_width=width,
        ),
        "language_model": language_model,
        "layout": TemplateLayout(
            parts=(Special(token="bos", if_any=True), Slot(block="video"), Text(text="{question}{options}")),
            options=OptionsFormat(prefix=" Options : ", item="( {option} )"),
            answer=AnswerFormat(eos=True),
        ),
        "decoding": {"max_new_tokens": 4},
    }
    return VideoLanguageConfig(ModelSpec(**{**parts, **changes}), name=f"tiny-{family}")


def with_processor(config: VideoLanguageConfig, seed: int = 0) -> VideoLanguageModel:
    torch.manual_seed(seed)
    model = VideoLanguageModel(config).eval()
    model.processor = Processor(config, {"language": toy_tokenizer()})
    return model
