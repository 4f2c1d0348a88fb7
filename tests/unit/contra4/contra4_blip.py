"""A tiny random BLIP in a folder: a captioner of frames without a chat template."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import BertTokenizerFast, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

TEXT = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
WORDS = "describe the audio picture image of a loud quiet red blue thing user assistant".split()


def save_blip(folder: Path) -> str:
    torch.manual_seed(1)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(words))
    ids = {"bos_token_id": 5, "eos_token_id": 3, "pad_token_id": 0, "sep_token_id": 3}
    config = BlipConfig(
        text_config={**TEXT, **ids, "vocab_size": len(words), "encoder_hidden_size": 16, "projection_dim": 8},
        vision_config={**TEXT, "image_size": 16, "patch_size": 8, "projection_dim": 8},
        projection_dim=8,
    )
    model = BlipForConditionalGeneration(config)
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.5)  # the usual small ones hardly look
    with torch.no_grad():
        model.text_decoder.cls.predictions.bias[: -len(WORDS)] = -100.0  # words, not signs
    model.save_pretrained(folder)
    frames = BlipImageProcessor(size={"height": 16, "width": 16})
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), bos_token="[DEC]")
    BlipProcessor(frames, tokenizer).save_pretrained(folder)
    return str(folder)
