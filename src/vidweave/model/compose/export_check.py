"""Whether an exported model computes what ours computes: compared before anything is written."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vidweave.errors import ConfigError
from vidweave.model.assembly import VideoLanguageModel
from vidweave.types import Embeds, TrunkInput

__all__ = ["check_equal"]

NUM_WORDS = 5
TOLERANCE = 2e-2  # of the largest number: half precision differs by 1e-2, another formula by more


@torch.no_grad()
def check_equal(model: VideoLanguageModel, exported: Any, stream: str, image_token: int) -> None:
    """Raise ConfigError unless both give the same features for one random frame, and the same logits after some words."""
    encoder: Any = model.encoders[model.spec.streams[stream].encoder]
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(1, 3, *encoder.size, generator=generator).to(model.device, model.dtype)
    features = encoder.encode(pixels[:, None, None], next(iter(encoder.specs)))[0, 0]
    hidden = exported.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2][0, encoder.num_prefix :]
    _compare(features, hidden, exported.model.vision_tower, encoder.tower)
    words = torch.arange(1, 1 + NUM_WORDS, device=model.device)
    ids = torch.cat([torch.full((encoder.num_tokens,), image_token, device=model.device), words])[None]
    theirs = exported(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels).logits[0, -1]
    ours = _logits(model, stream, features, words)
    _compare(ours, theirs[: len(ours)], exported, model.language_model.model)


def _logits(model: VideoLanguageModel, stream: str, features: Tensor, words: Tensor) -> Tensor:
    """(V,) after the tokens of one frame and the words."""
    trunk: Any = model.connector.trunks[model.connector.ports[stream].trunk]  # type: ignore[index]
    values = torch.cat([trunk(TrunkInput(queries=None, keys=features[None]))[0], model.language_model.embed(words)])[
        None
    ]
    length = values.shape[1]
    positions = torch.arange(length, device=values.device)[None]
    embeds = Embeds(values, torch.ones(1, length, dtype=torch.bool, device=values.device), positions)
    return model.language_model.next_logits(embeds)[0]


def _compare(ours: Tensor, theirs: Tensor, written: Any, own: Any) -> None:
    ours, theirs = ours.float(), theirs.float()
    apart = float((ours - theirs).abs().max())
    if apart > TOLERANCE * float(ours.abs().max()):
        raise ConfigError(
            f"this model cannot be exported: {type(written).__name__} of the exported folder computes other numbers than "
            f"{type(own).__name__} here (they differ by up to {apart:.3g}); take another family"
        )
