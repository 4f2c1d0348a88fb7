"""A model of every architecture in a few thousand weights, ready to be asked, with a clip that it takes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import vidweave
from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.fusion import NoFusionConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.qformer import QFormerConfig
from vidweave.encoders.beats import BeatsConfig
from vidweave.encoders.pointbert import PointBertConfig
from vidweave.encoders.vision_tower import VisionTowerConfig
from vidweave.language.causal import CausalConfig
from vidweave.language.layout import Slot, Special, TemplateLayout, Text
from vidweave.language.seq2seq import Seq2SeqConfig
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import ModelSpec, StreamConfig, VideoLanguageConfig
from vidweave.model.processor import Processor
from vidweave.pipelines.slot import SlotPipeline
from vidweave.selectors.uniform import UniformSelectorConfig
from vidweave.systems.blip2.preset import blip2, prompt_layout
from vidweave.systems.xinstructblip.preset import Sizes, build
from vidweave.types import AudioSpec, Clip, FrameNeed, Frames, PointSpec, Query, TextSpec, VisualSpec

WORDS = "what is the colour of circle red blue green ? a left right Question Answer : .".split()
VOCABULARY = 40
LLAMA = {
    "model_type": "llama", "vocab_size": VOCABULARY, "hidden_size": 24, "intermediate_size": 44, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
OPT = {
    "model_type": "opt", "vocab_size": VOCABULARY, "hidden_size": 24, "ffn_dim": 44, "num_hidden_layers": 2,
    "num_attention_heads": 4, "word_embed_proj_dim": 24, "max_position_embeddings": 256, "dropout": 0.0,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
T5 = {
    "model_type": "t5", "vocab_size": VOCABULARY, "d_model": 20, "d_kv": 6, "d_ff": 36, "num_layers": 2, "num_heads": 3,
    "feed_forward_proj": "gated-gelu", "dropout_rate": 0.0, "tie_word_embeddings": False, "decoder_start_token_id": 0,
    "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
VISION = {
    "model_type": "blip_2_vision_model", "hidden_size": 14, "intermediate_size": 18, "num_hidden_layers": 2,
    "num_attention_heads": 2, "image_size": 28, "patch_size": 14, "layer_norm_eps": 1e-6,
}  # fmt: skip
QUESTION = "what is the colour of the circle ?"


def tokenizer() -> PreTrainedTokenizerFast:
    words = {word: i for i, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *WORDS])}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def clip(*modalities: str) -> Clip:
    draw = np.random.default_rng(3)
    return Clip(
        **{name: Frames.from_array(draw.integers(0, 255, (7, 48, 48, 3), dtype=np.uint8), fps=5) for name in modalities}
    )


def query() -> Query:
    return Query.about(clip("video"), QUESTION)


def _qformer(**changes) -> QFormerConfig:
    sizes = {"hidden": 16, "layers": 2, "heads": 2, "intermediate": 20, "hidden_dropout": 0.0, "attention_dropout": 0.0}
    return QFormerConfig(**{**sizes, **changes})


def _reading_qformer(**changes) -> QFormerConfig:
    spec = TextSpec(tokenizer="qformer", max_tokens=30)
    return _qformer(vocab_size=VOCABULARY, max_positions=30, text_spec=spec, **changes)


def _slots(language: CausalConfig | Seq2SeqConfig) -> VideoLanguageConfig:
    """A trainable tower of transformers, a Q-Former and a language model."""
    tower = VisionTowerConfig(config=VISION, specs={"video": VisualSpec(height=28, width=28)})
    return VideoLanguageConfig(
        ModelSpec(
            selector=UniformSelectorConfig(),
            encoders={"vision": tower},
            streams={"video": StreamConfig(encoder="vision", modalities=("video",), need=FrameNeed(num_frames=3))},
            connector=ConnectorConfig(
                trunks={"qformer": _qformer(encoder_width=14)},
                ports={"video": PortConfig(trunk="qformer", input_width=14, num_query_tokens=5)},
                fusion=NoFusionConfig(),
                output_width=language.width,
            ),
            language_model=language,
            layout=TemplateLayout(
                parts=(Special(token="bos", if_any=True), Slot(block="video"), Text(text="{question}"))
            ),
            decoding={"max_new_tokens": 4},
        ),
        name="tiny-slots",
    )


def _blip2(form: str, language: CausalConfig | Seq2SeqConfig) -> VideoLanguageConfig:
    qformer = (_reading_qformer if form == "instructblip" else _qformer)(encoder_width=14)
    layout = prompt_layout(isinstance(language, Seq2SeqConfig))
    parts = {"vision": VISION, "qformer": qformer, "language_model": language, "layout": layout}
    return blip2(form, name=f"tiny-{form}", num_query_tokens=5, **parts)


def _xinstructblip() -> VideoLanguageConfig:
    mel = AudioSpec(sample_rate=16_000, window_seconds=0.32, mel_bins=16, windows_of="frames")
    sizes = Sizes(
        vision=VISION,
        audio=BeatsConfig(
            width=12, layers=2, heads=2, intermediate=14, patch=16, patch_width=5, conv_width=6, conv_groups=2,
            num_buckets=8, max_distance=16, specs={"audio": mel},
        ),
        points=PointBertConfig(
            width=10, hidden=8, layers=2, heads=2, num_groups=5, group_size=3, group_width=6,
            specs={"point_cloud": PointSpec(num_points=19, sampling="farthest")},
        ),
        qformer=_reading_qformer(),
        language=LLAMA,
        num_query_tokens=3,
    )  # fmt: skip
    return build(sizes=sizes)


def _made(config: Callable[[], VideoLanguageConfig]) -> Callable[[], SlotPipeline]:
    def make() -> SlotPipeline:
        torch.manual_seed(1)
        model = VideoLanguageModel(config()).eval()
        with torch.no_grad():  # fresh zeros and ones would hide what is not connected
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        words = {"language": tokenizer()} | {text.tokenizer: tokenizer() for text in model.spec.text.values()}
        return SlotPipeline(model, Processor(model.config, words))

    return make


def _shipped(name: str) -> Callable[[], SlotPipeline]:
    return lambda: vidweave.load(name)


SMALL = {
    "slots-causal": _made(lambda: _slots(CausalConfig(config=LLAMA))),
    "slots-seq2seq": _made(lambda: _slots(Seq2SeqConfig(config=T5))),
}
ALL = {
    **SMALL,
    "blip2-opt": _made(lambda: _blip2("blip2", CausalConfig(config=OPT))),
    "instructblip-t5": _made(lambda: _blip2("instructblip", Seq2SeqConfig(config=T5))),
    "instructblip-llama": _made(lambda: _blip2("instructblip", CausalConfig(config=LLAMA))),
    "xinstructblip": _made(_xinstructblip),
    **{name: _shipped(name) for name in ("tiny-base", "tiny-malmm", "tiny-crema", "tiny-videotgb", "tiny-merv")},
}
