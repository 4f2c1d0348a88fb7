"""Exported folders compute in transformers' own class what the composed model computes here."""

import numpy as np
import pytest
import torch
import transformers as tf
from hub_folders import write_language_model, write_tower
from PIL import Image

import vidweave
from vidweave.errors import ConfigError
from vidweave.types import Clip, Frames, Query

PICTURES = np.random.default_rng(7).integers(0, 255, (3, 33, 41, 3), dtype=np.uint8)
CLIP = Clip(Frames(PICTURES, np.arange(3) / 4.0, np.arange(3)))
QUESTION = "What is it?"


def composed(tmp_path, tower, language, **settings):
    encoder, language_model = write_tower(tmp_path / tower, tower), write_language_model(tmp_path / language, language)
    pipe = vidweave.compose(encoder, language_model, **{"num_frames": 3, "tokens_per_frame": None, **settings})
    with torch.no_grad():
        for parameter in pipe.model.connector.parameters():
            parameter.normal_(std=0.3)
    return pipe


@pytest.mark.parametrize(
    ("tower", "language"),
    [
        ("clip", "llama"),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in [
                *[("siglip", "qwen3"), ("siglip_vision_model", "qwen2"), ("vit", "gpt2"), ("dinov2", "opt")],
                *[
                    ("clip", "gemma3_text"),
                    ("clip", "gpt_neox"),
                    ("clip", "phi3"),
                    ("siglip", "olmo2"),
                    ("vit", "mistral"),
                ],
            ]
        ),
    ],
)
def test_transformers_own_class_gives_equal_logits(tmp_path, tower, language):
    pipe = composed(tmp_path, tower, language)
    pipe.export(tmp_path / "llava")
    model = tf.LlavaForConditionalGeneration.from_pretrained(tmp_path / "llava", dtype=torch.float32).eval()
    processor = tf.AutoProcessor.from_pretrained(tmp_path / "llava")
    content = [*[{"type": "image"}] * 3, {"type": "text", "text": QUESTION}]
    text = "<image>" * 3 + f"Question: {QUESTION}\nAnswer:"
    if processor.chat_template:
        text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    images = [Image.fromarray(frame) for frame in PICTURES]
    inputs = processor(images=images, text=text, return_tensors="pt", add_special_tokens=False)
    with torch.no_grad():
        ours = pipe.model(pipe.inputs(Query.about(CLIP, QUESTION))).logits[0]
        theirs = model(**inputs).logits[0, -1, : len(ours)]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("tower", "language", "settings", "words"),
    [
        ("clip", "llama", {"tokens_per_frame": 4}, "tokens_per_frame=None"),
        ("clip", "llama", {"connector": "qformer", "tokens_per_frame": 2}, "connector='mlp'"),
        ("clip", "t5", {}, "not causal"),
        ("clip", "gemma2", {}, "final_logit_softcapping"),
        ("deit", "llama", {}, "cannot cut the tokens out of DeiTModel"),
    ],
)
def test_what_no_class_holds_is_reported(tmp_path, tower, language, settings, words):
    with pytest.raises(ConfigError, match=words):
        composed(tmp_path, tower, language, **settings).export(tmp_path / "llava")
    assert not (tmp_path / "llava").exists()
