"""Dual encoders of transformers (CLIP, SigLIP): frames and texts as vectors of one space, compared by cosine similarity."""

# Axes: G frames, H height, W width, B texts, L tokens, D width of the shared space, P patches

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.errors import ConfigError
from vidweave.nn.config_guard import checked_config, class_config
from vidweave.nn.config_keys import refuse_dangerous
from vidweave.nn.numbers import floating_dtype, require_finite

__all__ = ["DUAL_FAMILIES", "DualEncoder", "DualFamily", "dual_config"]

WHERE = "the configuration of a dual encoder"


@dataclass(frozen=True, kw_only=True)
class DualFamily:
    """Facts about one architecture of transformers.

    Attributes:
        model: Class name in transformers.
        pads_text: Texts are padded to the tower's full length, without a mask, as the model was trained.
        takes_patches: Frames are rows of patches of any grid (SigLIP 2 NaFlex).
    """

    model: str
    pads_text: bool = False
    takes_patches: bool = False


DUAL_FAMILIES: dict[str, DualFamily] = {
    "clip": DualFamily(model="CLIPModel"),
    "metaclip_2": DualFamily(model="MetaClip2Model"),
    "siglip": DualFamily(model="SiglipModel", pads_text=True),  # SigLIP 2 of fixed size too
    "siglip2": DualFamily(model="Siglip2Model", pads_text=True, takes_patches=True),
}


class DualEncoder(nn.Module):
    """A dual encoder in evaluation mode, frozen.

    Args:
        model: Of the class that the family names.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.family = DUAL_FAMILIES[model.config.model_type]

    @property
    def max_tokens(self) -> int:
        """L of the longest text."""
        return int(self.model.config.text_config.max_position_embeddings)

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return int(self.model.config.vision_config.patch_size)

    @torch.no_grad()
    def encode_frames(self, pixels: Tensor) -> Tensor:
        """(G, 3, H, W) preprocessed → (G, D) of unit length, float32.

        Raises:
            NonFiniteError: the features hold NaN or infinity.
        """
        pixels = pixels.to(self.model.device, floating_dtype(self.model, torch.float32))
        inputs = _patches(pixels, self.patch_size) if self.family.takes_patches else {"pixel_values": pixels}
        return _unit("frames", self.model.get_image_features(**inputs).pooler_output)

    @torch.no_grad()
    def encode_texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids (B, L), padded to `max_tokens` if the family pads its texts, and mask (B, L) → (B, D) of unit length, float32."""
        inputs = {"input_ids": ids.to(self.model.device)}
        if not self.family.pads_text:
            inputs["attention_mask"] = mask.to(self.model.device)
        return _unit("texts", self.model.get_text_features(**inputs).pooler_output)


def dual_config(data: Mapping[str, Any]) -> Any:
    """transformers' configuration from a config.json; keys that its class does not read are dropped.

    Raises:
        CheckpointError, ConfigError: not a dual encoder that is known here, or dangerous keys.
    """
    from transformers import CONFIG_MAPPING

    refuse_dangerous(data, WHERE)
    model_type = data.get("model_type")
    if model_type not in DUAL_FAMILIES:
        raise ConfigError(
            f"a {model_type!r} model is no dual encoder of frames and texts; give a folder or hub id of one of: "
            f"{', '.join(sorted(DUAL_FAMILIES))} (e.g. google/siglip2-base-patch16-224)"
        )
    cls = CONFIG_MAPPING[model_type]
    return class_config(checked_config(data, cls, WHERE, unknown="drop"), cls, WHERE)


def _patches(pixels: Tensor, side: int) -> dict[str, Tensor]:
    """(G, 3, H, W) → rows of patches (G, P, side * side * 3) and their grid, as SigLIP 2 NaFlex takes them."""
    count, channels, height, width = pixels.shape
    rows, columns = height // side, width // side
    cut = pixels.reshape(count, channels, rows, side, columns, side).permute(0, 2, 4, 3, 5, 1)
    values = cut.reshape(count, rows * columns, side * side * channels)
    return {
        "pixel_values": values,
        "pixel_attention_mask": torch.ones(count, rows * columns, dtype=torch.int32, device=pixels.device),
        "spatial_shapes": torch.tensor([[rows, columns]] * count, device=pixels.device),
    }


def _unit(what: str, features: Tensor) -> Tensor:
    require_finite(f"the dual encoder's features of {what}", {"features": (features, None)})
    return functional.normalize(features.float(), dim=-1)
