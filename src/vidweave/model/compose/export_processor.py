"""The processor of an exported model: the tower's preprocessing and the language model's chat template, as LLaVA has them."""

from __future__ import annotations

from typing import Any

from vidweave.encoders.vision_tower import VisionTower
from vidweave.errors import ConfigError
from vidweave.model.assembly import VideoLanguageModel
from vidweave.types import VisualSpec

__all__ = ["llava_processor"]

_RESAMPLE = {"nearest": 0, "bilinear": 2, "bicubic": 3}
# Content in parts becomes one text, with the image token where an image stands; then the tokenizer's own template follows.
_FLATTENED = (
    "{%- set flat = namespace(messages=[]) -%}"
    "{%- for message in messages -%}"
    "{%- if message['content'] is string -%}{%- set flat.messages = flat.messages + [message] -%}"
    "{%- else -%}{%- set words = namespace(text='') -%}"
    "{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'image' -%}{%- set words.text = words.text + 'IMAGE' -%}"
    "{%- else -%}{%- set words.text = words.text + part['text'] -%}{%- endif -%}"
    "{%- endfor -%}"
    "{%- set flat.messages = flat.messages + [{'role': message['role'], 'content': words.text}] -%}"
    "{%- endif -%}{%- endfor -%}"
    "{%- set messages = flat.messages -%}"
)


def llava_processor(model: VideoLanguageModel, encoder: VisionTower, tokenizer: Any, image_token: str) -> Any:
    """transformers' LlavaProcessor for the frames and prompts of `model`."""
    from transformers import LlavaProcessor

    own = getattr(tokenizer, "chat_template", None)
    template = None if own is None else _FLATTENED.replace("IMAGE", image_token) + own
    vision: Any = encoder.tower.config
    patch = vision.patch_size
    return LlavaProcessor(
        image_processor=_image_processor(next(iter(encoder.specs.values()))),
        tokenizer=tokenizer,
        patch_size=patch if isinstance(patch, int) else patch[0],
        vision_feature_select_strategy="default" if encoder.num_prefix else "full",
        chat_template=template,
        image_token=image_token,
        num_additional_image_tokens=encoder.num_prefix,
    )


def _image_processor(spec: VisualSpec) -> Any:
    from transformers import CLIPImageProcessorPil

    size: dict[str, int] = {"height": spec.height, "width": spec.width}
    is_crop = spec.resize == "crop"
    if spec.resize not in ("crop", "squash") or (is_crop and spec.height != spec.width):
        raise ConfigError(f"frames that are resized by {spec.resize!r} cannot be exported; use 'squash' or 'crop'")
    return CLIPImageProcessorPil(
        size={"shortest_edge": spec.short_side or spec.height} if is_crop else size,
        do_center_crop=is_crop,
        crop_size=size,
        resample=_RESAMPLE[spec.interpolation],
        rescale_factor=spec.scale,
        image_mean=list(spec.mean),
        image_std=list(spec.std),
    )
