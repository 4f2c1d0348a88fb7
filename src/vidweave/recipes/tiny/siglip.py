"""tiny-siglip: a dual encoder of the toy world, as a `SiglipModel` folder of transformers with tokenizer and preprocessor.

    vidweave train tiny/siglip --out runs/tiny-siglip

Two stages: the vision tower is trained to predict the content of each patch; then frames and texts (captions and questions) are
embedded side by side, and trained with SigLIP's sigmoid loss to tell which text is about which frame. It finds frames for the
selectors `similarity` and `ground`, as published CLIP and SigLIP models do; like them it sees single frames, so that it knows
nothing of motion or order. Among unseen frames of visits it tells colors apart without an error, and shapes hardly better than by
chance (areas under the curve 0.50 to 0.63).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import SiglipConfig, SiglipModel

from vidweave.tiny.asset_files import write_facts, write_weights
from vidweave.tiny.frame_texts import FrameTexts, LabelPatches, MatchTexts, collate_frame_texts
from vidweave.tiny.patch_labels import collate_frames, dense_heads
from vidweave.tiny.scenes import LabeledFrames
from vidweave.tiny.tokenizer import train_tokenizer
from vidweave.training.schedule import Schedule
from vidweave.training.stages import AdamWSettings, Pass, Run, Stage
from vidweave.types import VisualSpec

__all__ = ["ASSET", "DualRoot", "Settings", "recipe"]

ASSET = "tiny-siglip"
SIDE, VOCAB_SIZE, TEXT_TOKENS = 48, 384, 32
PIXELS = VisualSpec(height=SIDE, width=SIDE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), resampler="pillow")
UNSEEN = 2**31 - 100_000  # first example held out for evaluation


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the recipe. The defaults trained the shipped asset, in 15 minutes of one core of a busy machine."""

    seed: int = 0
    width: int = 64
    layers: int = 3
    text_layers: int = 2
    patch_steps: int = 900
    steps: int = 1200
    batch_size: int = 96
    learning_rate: float = 1.5e-3
    evaluation_examples: int = 512


class DualRoot(nn.Module):
    """The model, and heads that are discarded afterwards."""

    def __init__(self, config: SiglipConfig, width: int) -> None:
        super().__init__()
        self.model = SiglipModel(config)
        nn.init.constant_(
            self.model.logit_scale, math.log(10.0)
        )  # transformers starts at 0, from where it takes too long
        nn.init.constant_(self.model.logit_bias, -3.0)
        self.heads = dense_heads(width)


def recipe(**overrides: Any) -> Run:
    """Build the run; `overrides` are fields of Settings."""
    s = Settings(**overrides)
    torch.manual_seed(s.seed)
    source = FrameTexts(other_share=0.6)
    tokenizer = train_tokenizer([f" {source[i].text}" for i in range(3000)] + list(_words(source)), VOCAB_SIZE)
    collate = partial(collate_frame_texts, PIXELS, tokenizer, TEXT_TOKENS)
    settings = {
        "batch_size": s.batch_size,
        "optimizer": AdamWSettings(lr=s.learning_rate, weight_decay=0.01, betas=(0.9, 0.98)),
        "schedule": Schedule("cosine", warmup_steps=max(1, s.steps // 20), min_lr_ratio=0.02),
    }
    stages = [
        Stage(
            name="patches",
            objective=LabelPatches(),
            examples=LabeledFrames(),
            collate=partial(collate_frames, PIXELS),
            passes=(Pass("vision tower", ("model.vision_model.*", "heads.*")),),
            steps=s.patch_steps,
            share=2,
            **settings,
        ),
        Stage(
            name="frames-and-texts",
            objective=MatchTexts(),
            examples=FrameTexts(),
            collate=collate,
            passes=(Pass("model", ("model.*",)),),
            steps=s.steps,
            share=3,
            **settings,
        ),
    ]
    return Run(
        name=ASSET,
        model=DualRoot(_config(s), s.width),
        stages=stages,
        seed=s.seed,
        finish=partial(_finish, tokenizer, collate, settings=asdict(s)),
        config=asdict(s),
    )


def _config(s: Settings) -> SiglipConfig:
    shared = {
        "hidden_size": s.width,
        "intermediate_size": 2 * s.width,
        "num_attention_heads": max(1, s.width // 16),
    }
    text = {
        "num_hidden_layers": s.text_layers,
        "vocab_size": VOCAB_SIZE,
        "max_position_embeddings": TEXT_TOKENS,
        "projection_size": s.width,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    vision = {"num_hidden_layers": s.layers, "image_size": SIDE, "patch_size": 8}
    return SiglipConfig(text_config=shared | text, vision_config=shared | vision)


def _words(source: FrameTexts) -> list[str]:
    """Texts as they begin, without a space before them."""
    return [source[i].text for i in range(3000, 4000)]


@torch.no_grad()
def _finish(
    tokenizer: Any, collate: Any, root: DualRoot, out: Path, *, settings: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Write the asset as transformers does, in half precision, and measure the share of pairs on the right side."""
    model, source = root.model.half().float().eval(), FrameTexts()
    examples = [source[UNSEEN + i] for i in range(settings["evaluation_examples"])]
    figures = {name: round(float(v), 4) for name, v in MatchTexts()(root.eval(), collate(examples)).items()}
    folder = out / "assets" / ASSET
    write_weights(folder / "model.safetensors", model.state_dict())
    model.config.architectures = ["SiglipModel"]
    model.config.save_pretrained(folder)
    tokenizer.model_max_length = TEXT_TOKENS
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(_preprocessor(), indent=2) + "\n", encoding="utf-8")
    write_facts(folder / "asset.json", __file__, out, {**settings, "figures": figures})
    return figures


def _preprocessor() -> dict[str, Any]:
    """What transformers writes for a `SiglipImageProcessor`."""
    return {
        "image_processor_type": "SiglipImageProcessor",
        "do_resize": True,
        "size": {"height": SIDE, "width": SIDE},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": PIXELS.scale,
        "do_normalize": True,
        "image_mean": list(PIXELS.mean),
        "image_std": list(PIXELS.std),
    }
