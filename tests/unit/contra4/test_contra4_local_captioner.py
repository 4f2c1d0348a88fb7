"""Captioners of transformers in this process: tiny, random, but whole models of two kinds."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from contra4_blip import TEXT, WORDS, save_blip
from transformers import (
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

from vidweave.contra4.local_captioner import TransformersCaptioner
from vidweave.errors import CheckpointError, ModalityError
from vidweave.tiny.tokenizer import train_tokenizer
from vidweave.types import Clip, Frames, PointCloud, Waveform


def image(level: int, modality: str = "image", count: int = 1) -> Clip:
    return Clip(**{modality: Frames.from_array(np.full((count, 24, 24, 3), level, np.uint8), fps=2)})


def waveform(loudness: float) -> Clip:
    return Clip(audio=Waveform(np.full(4_000, loudness, np.float32), 16_000))


@pytest.fixture(scope="module")
def blip(tmp_path_factory) -> str:
    """No chat template: it is shown a frame and writes on."""
    return save_blip(tmp_path_factory.mktemp("blip"))


def test_images_and_videos_are_described_one_by_one(blip):
    captioner = TransformersCaptioner(blip, max_tokens=8)
    clips = [image(20), image(240), image(120, "video", 5)]
    reply = captioner.caption(clips)
    assert all(text and set(text.split()) <= {*WORDS} for text in reply)
    assert len(set(reply)) > 1  # it does look
    assert reply == [captioner.caption([clip])[0] for clip in clips] == captioner.caption(clips)
    (of_video,) = TransformersCaptioner(blip, max_tokens=8).caption([image(120)])
    assert reply[2] == of_video  # the middle frame


def test_a_prompt_is_continued(blip):
    asked = TransformersCaptioner(blip, prompt="a picture of", max_tokens=8)
    (text,) = asked.caption([image(20)])
    assert text
    assert asked.describe() != TransformersCaptioner(blip, max_tokens=8).describe()
    json.dumps(asked.describe())


def test_workers_get_it_without_its_weights(blip):
    captioner = TransformersCaptioner(blip, max_tokens=4)
    reply = captioner.caption([image(20)])
    sent = pickle.dumps(captioner)
    assert len(sent) < 1_000
    assert pickle.loads(sent).caption([image(20)]) == reply  # noqa: S301


def test_what_it_cannot_describe_is_refused(blip, tmp_path):
    captioner = TransformersCaptioner(blip)
    with pytest.raises(ModalityError, match="transformers captioners accept image, video and audio, not point_cloud"):
        captioner.caption([Clip(point_cloud=PointCloud(np.zeros((4, 3), np.float32)))])
    with pytest.raises(ModalityError, match="does not support audio"):
        captioner.caption([waveform(0.1)])
    with pytest.raises(CheckpointError, match=r"there is no config\.json"):
        TransformersCaptioner(str(tmp_path))


@pytest.fixture(scope="module")
def listener(tmp_path_factory) -> str:
    """A chat template: it is asked about a audio."""
    torch.manual_seed(2)
    folder = tmp_path_factory.mktemp("listener")
    words = train_tokenizer([" ".join(WORDS)] * 9, 300)
    words.add_special_tokens({"additional_special_tokens": ["<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"]})
    config = Qwen2AudioConfig(
        audio_config={"d_model": 16, "encoder_attention_heads": 2, "encoder_ffn_dim": 24, "encoder_layers": 1, "num_mel_bins": 16},
        text_config={**TEXT, "model_type": "qwen2", "num_key_value_heads": 2, "vocab_size": len(words)},
        audio_token_index=words.convert_tokens_to_ids("<|AUDIO|>"),
    )  # fmt: skip
    Qwen2AudioForConditionalGeneration(config).save_pretrained(folder)
    template = (
        "{% for message in messages %}{% for part in message['content'] %}"
        "{% if part['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>{% else %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{% endfor %}"
    )
    ears = WhisperFeatureExtractor(feature_size=16)
    Qwen2AudioProcessor(ears, words, chat_template=template).save_pretrained(folder)
    return str(folder)


def test_audio_is_described_by_a_model_that_hears(listener):
    captioner = TransformersCaptioner(listener, max_tokens=6)
    clips = [waveform(0.01), waveform(0.9)]
    reply = captioner.caption(clips)
    assert reply == [captioner.caption([clip])[0] for clip in clips]
    assert all("Describe" not in text for text in reply)  # what was asked is not repeated
