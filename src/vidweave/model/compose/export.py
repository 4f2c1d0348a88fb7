"""A composed model in the layout of transformers' LLaVA, which vLLM and llama.cpp read too.

A tower, an MLP of two layers over all its patch tokens and a causal language model are what LLaVA is. A video becomes one
image per frame. The tower is written with one more layer than is used (`vision_feature_layer` -2), as LLaVA's own folders
have it: readers disagree on whether the last norm follows the last layer.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidweave.connectors.mlp import MLP
from vidweave.encoders.vision_tower import VisionTower
from vidweave.errors import ConfigError
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.compose.export_check import check_equal
from vidweave.model.compose.export_processor import llava_processor
from vidweave.model.processor import Processor
from vidweave.model.swap import replaced

__all__ = ["IMAGE_TOKEN", "export_llava"]

IMAGE_TOKEN = "<image>"
_LOGIT_SETTINGS = ("final_logit_softcapping", "logits_scaling", "logit_scale")


def export_llava(model: VideoLanguageModel, processor: Processor, folder: str | Path) -> None:
    """Write `model` as a folder of `LlavaForConditionalGeneration`, with tokenizer, processor and chat template.

    Raises:
        ConfigError: no transformers class fits these parts, or it computes other logits; the message says why.
    """
    stream, encoder, trunk = _parts(model)
    tokenizer = copy.deepcopy(processor.tokenizers["language"])
    if IMAGE_TOKEN not in tokenizer.get_vocab():
        tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]}, replace_extra_special_tokens=False)
    image_token = int(tokenizer.get_vocab()[IMAGE_TOKEN])
    exported = _llava(model, encoder, trunk, image_token)
    check_equal(model, exported, stream, image_token)
    with replaced(Path(folder)) as staging:
        exported.save_pretrained(staging)
        llava_processor(model, encoder, tokenizer, IMAGE_TOKEN).save_pretrained(staging)


def _parts(model: VideoLanguageModel) -> tuple[str, VisionTower, MLP]:
    """The only connector stream, its tower and its MLP."""
    streams = model.spec.connector_streams
    if len(streams) != 1:
        raise _no_class(f"it has {len(streams)} streams, LLaVA has one")
    ((name, stream),) = streams.items()
    encoder: Any = model.encoders[stream.encoder]
    port: Any = model.connector.ports[name]
    trunk: Any = model.connector.trunks[port.trunk]
    if not isinstance(encoder, VisionTower) or encoder.window != 1:
        raise _no_class("its encoder is no vision tower of single frames")
    family = encoder.family
    if family.norm is None or not family.has_plain_layers or encoder.num_prefix > 1:
        raise _no_class(f"LLaVA cannot cut the tokens out of {family.model}; take CLIP, SigLIP, ViT or DINOv2")
    if encoder.has_final_norm or encoder.num_dropped != encoder.num_prefix:
        raise _no_class("its tower gives normed tokens or its CLS token; compose with connector='mlp'")
    is_plain = (
        isinstance(trunk, MLP) and len(trunk.layers) == 2 and port.output_proj is None and port.input_norm is None
    )
    if not is_plain or stream.pool is not None:
        raise _no_class(
            "LLaVA's connector is an MLP of two layers over all patch tokens; compose with connector='mlp' and "
            "tokens_per_frame=None"
        )
    if model.language_model.side != "left":
        raise _no_class("its language model is not causal")
    return name, encoder, trunk


def _no_class(why: str) -> ConfigError:
    return ConfigError(f"this model cannot be exported, since no class of transformers fits: {why}")


def _llava(model: VideoLanguageModel, encoder: VisionTower, trunk: MLP, image_token: int) -> Any:
    """transformers' model with the weights of `model`."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    inner = model.language_model.model
    text: Any = copy.deepcopy(inner.config)
    vision: Any = copy.deepcopy(encoder.tower.config)
    vision.num_hidden_layers += 1
    text.vocab_size = max(text.vocab_size, image_token + 1)
    # LLaVA ties its head to `embed_tokens`; families with another name for it get a head of their own
    text.tie_word_embeddings = bool(text.tie_word_embeddings) and hasattr(inner.base_model, "embed_tokens")
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=image_token,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default" if encoder.num_prefix else "full",
        image_seq_length=encoder.num_tokens,
        multimodal_projector_bias=True,
        tie_word_embeddings=text.tie_word_embeddings,
    )
    with torch.device("meta"):
        skeleton = LlavaForConditionalGeneration(config)
    state = _state(model, encoder, trunk, skeleton.state_dict(), text.vocab_size)
    # a skeleton lacks the buffers that no folder holds; from_pretrained computes them
    cls: Any = LlavaForConditionalGeneration
    exported = cls.from_pretrained(None, config=config, state_dict=state, dtype=model.dtype)
    exported.generation_config = copy.deepcopy(inner.generation_config)
    return exported.to(model.device).eval()


def _state(
    model: VideoLanguageModel, encoder: VisionTower, trunk: MLP, expected: dict[str, Tensor], vocabulary: int
) -> dict[str, Tensor]:
    """Our weights under LLaVA's names; the layer of the tower that nobody uses is zeros."""
    inner = model.language_model.model
    head = inner.get_output_embeddings()
    if getattr(head, "bias", None) is not None:
        raise _no_class(f"the output layer of {type(inner).__name__} has a bias, LLaVA's has none")
    scaled = [name for name in _LOGIT_SETTINGS if getattr(inner.config, name, None) not in (None, 1.0)]
    if scaled:
        raise _no_class(f"{type(inner).__name__} changes its logits by {', '.join(scaled)}, LLaVA does not")
    prefix = f"{inner.base_model_prefix}."
    state = {f"model.vision_tower.{name}": tensor for name, tensor in encoder.tower.state_dict().items()}
    state |= {
        f"model.language_model.{name.removeprefix(prefix)}": tensor
        for name, tensor in inner.state_dict().items()
        if name.startswith(prefix)
    }
    for number, layer in enumerate(trunk.layers, 1):
        state |= {f"model.multi_modal_projector.linear_{number}.{n}": t for n, t in layer.state_dict().items()}
    is_tied = inner.config.tie_word_embeddings and hasattr(inner.base_model, "embed_tokens")
    state["lm_head.weight"] = head.weight if is_tied else head.weight.clone()  # files hold shared tensors once
    state = {name: tensor.detach() for name, tensor in state.items()}
    strange = sorted(state.keys() - expected.keys()) + sorted(
        name for name in expected.keys() - state.keys() if not name.startswith("model.vision_tower.")
    )
    if strange:
        raise _no_class(f"it has no place for, or lacks, {', '.join(strange[:3])}")
    return {name: _fitted(state.get(name), tensor, model.dtype, vocabulary) for name, tensor in expected.items()}


def _fitted(held: Tensor | None, expected: Tensor, dtype: torch.dtype, vocabulary: int) -> Tensor:
    """`held`, or zeros; a table of tokens gets a row of zeros for the image token where it has none."""
    if held is None:
        return torch.zeros(expected.shape, dtype=dtype)
    if held.shape == expected.shape or expected.shape[0] != vocabulary:
        return held
    return torch.cat([held, held.new_zeros(vocabulary - held.shape[0], *held.shape[1:])])
