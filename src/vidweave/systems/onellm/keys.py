"""OneLLM's state-dict names ⇄ ours. The original's modality names are image, video, audio, point, rgbd, rgbn, imu, fmri."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vidweave.errors import CheckpointError
from vidweave.model.sharded import LazyTensor
from vidweave.nn.keys import KeyTable
from vidweave.nn.rotary import halves_to_pairs, pairs_to_halves

__all__ = ["DROPPED", "KEYS", "NAMES", "modalities_in", "to_ours", "to_theirs"]

NAMES = {
    "image": "image",
    "video": "video",
    "audio": "audio",
    "point": "point_cloud",
    "rgbd": "rgbd",
    "rgbn": "rgbn",
    "imu": "imu",
    "fmri": "fmri",
}
DROPPED = "a part of CLIP that OneLLM does not use"
_PREFIX = "llma."
_POINTS = "tokenizers.point_cloud.linear.weight"
_BLOCK = (
    ("attention.wq.", "attention.query."),
    ("attention.wk.", "attention.key."),
    ("attention.wv.", "attention.value."),
)
_EXPERT = "resample_layers.{i}.{i}.", "connector.trunks.universal.experts.{i}.layers.{i}."
_CLIP = "clip.visual.transformer.resblocks.{i}.", "encoders.universal.layers.{i}."
_LANGUAGE = "layers.{i}.", "language_model.model.model.layers.{i}."


def _under(roots: tuple[str, str], *pairs: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((roots[0] + theirs, roots[1] + ours) for theirs, ours in pairs)


def _of_modality(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    port = f"connector.ports.{ours}."
    return (
        (f"resample_tokens.{theirs}", f"{port}query_tokens"),
        (f"start_tag.{theirs}", f"{port}start_tag"),
        (f"end_tag.{theirs}", f"{port}end_tag"),
        (f"clip_proj1.{theirs}.0.", f"{port}input_proj."),
        (f"clip_proj1.{theirs}.1.", f"{port}input_norm."),
        (f"clip_proj2.{theirs}.0.", f"{port}output_proj."),
        (f"clip_proj2.{theirs}.1.", f"{port}output_norm."),
        (f"routers.{theirs}.fc1.", f"{port}router.up."),
        (f"routers.{theirs}.fc2.", f"{port}router.down."),
        (f"positional_embedding.{theirs}", f"encoders.universal.positions.{ours}"),
    )


KEYS = KeyTable(
    (
        *_under(
            _EXPERT,
            *_BLOCK,
            ("attention.wo.", "output."),
            ("attention_norm.", "attention_norm."),
            ("feed_forward.w1.", "gate."),
            ("feed_forward.w2.", "down."),
            ("feed_forward.w3.", "up."),
            ("ffn_norm.", "mlp_norm."),
        ),
        *_under(
            _CLIP,
            ("ln_1.", "norm1."),
            ("ln_2.", "norm2."),
            ("attn.in_proj_q.", "attention.query."),
            ("attn.in_proj_k.", "attention.key."),
            ("attn.in_proj_v.", "attention.value."),
            ("attn.out_proj.", "output."),
            ("mlp.c_fc.", "up."),
            ("mlp.c_proj.", "down."),
        ),
        ("clip.visual.conv1.", "encoders.universal.patch_embedding."),
        ("clip.visual.class_embedding", "encoders.universal.class_embedding"),
        ("clip.visual.positional_embedding", "encoders.universal.position_embedding"),
        ("clip.visual.ln_pre.", "encoders.universal.pre_norm."),
        ("clip.visual.ln_post.", "encoders.universal.post_norm."),
        ("conv1.audio.", "encoders.universal.tokenizers.audio.conv."),
        ("conv1.point.conv1.", "encoders.universal.tokenizers.point_cloud.linear."),
        ("conv1.imu.", "encoders.universal.tokenizers.imu.conv."),
        ("conv1.fmri.", "encoders.universal.tokenizers.fmri.linear."),
        *(pair for theirs, ours in NAMES.items() for pair in _of_modality(theirs, ours)),
        *_under(
            _LANGUAGE,
            ("attention.wq.", "self_attn.q_proj."),
            ("attention.wk.", "self_attn.k_proj."),
            ("attention.wv.", "self_attn.v_proj."),
            ("attention.wo.", "self_attn.o_proj."),
            ("feed_forward.w1.", "mlp.gate_proj."),
            ("feed_forward.w2.", "mlp.down_proj."),
            ("feed_forward.w3.", "mlp.up_proj."),
            ("attention_norm.", "input_layernorm."),
            ("ffn_norm.", "post_attention_layernorm."),
        ),
        ("tok_embeddings.", "language_model.model.model.embed_tokens."),
        ("norm.", "language_model.model.model.norm."),
        ("output.", "language_model.model.lm_head."),
    ),
    dropped=(
        r"clip\.(positional_embedding|text_projection|logit_scale|attn_mask|visual\.proj)",
        r"clip\.(token_embedding|ln_final|transformer)\..*",
        r"rope\.freqs|freqs_cis",
    ),
)


def modalities_in(state: Iterable[str]) -> tuple[str, ...]:
    """Our names of the modalities whose modality tokens a file holds, in the order of `NAMES`."""
    held = {key.removeprefix(_PREFIX) for key in state}
    return tuple(ours for theirs, ours in NAMES.items() if f"resample_tokens.{theirs}" in held)


def to_ours(state: Mapping[str, Any], heads: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Weights (tensors or `LazyTensor`) under our names, and keys that hold none of ours → why.

    Args:
        heads: Of the language model, whose rotations turn neighboring pairs there, and halves in transformers.

    Raises:
        CheckpointError: an unknown key.
    """
    plain = {key.removeprefix(_PREFIX): value for key, value in state.items()}
    dropped = {key: DROPPED for key in state if KEYS.drops(key.removeprefix(_PREFIX))}
    kept = {key: value for key, value in plain.items() if not KEYS.drops(key)}
    ours = KEYS.to_ours(_split(kept))
    return {key: _changed(value, _to_our_shape(key, heads)) for key, value in ours.items()}, dropped


def to_theirs(state: Mapping[str, Tensor], heads: int) -> dict[str, Tensor]:
    """A state dict of ours under the original's names, all with its prefix."""
    shaped = {key: _changed(value, _to_their_shape(key, heads)) for key, value in state.items()}
    return {_PREFIX + key: value for key, value in _joined(KEYS.to_theirs(shaped)).items()}


def _changed(value: Any, change: Callable[[Tensor], Tensor] | None) -> Any:
    if change is None:
        return value
    return value.map(change) if isinstance(value, LazyTensor) else change(value)


def _split(state: Mapping[str, Any]) -> dict[str, Any]:
    """CLIP holds query, key and value in one."""
    result: dict[str, Any] = {}
    for key, value in state.items():
        root, summary, kind = key.partition("in_proj_")
        if not summary:
            result[key] = value
            continue
        if value.shape[0] % 3:
            raise CheckpointError(
                f"{key} holds query, key and value, so its rows must be a multiple of 3; it is {tuple(value.shape)}"
            )
        for part, name in enumerate("qkv"):
            result[f"{root}in_proj_{name}.{kind}"] = _changed(value, partial(_third, part=part))
    return result


def _third(value: Tensor, part: int) -> Tensor:
    return value.chunk(3)[part]


def _joined(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    result: dict[str, Tensor] = {}
    for key, value in state.items():
        root, summary, rest = key.partition("in_proj_")
        if not summary:
            result[key] = value
        elif rest.startswith("q."):
            parts = [state[f"{root}in_proj_{name}.{rest[2:]}"] for name in "qkv"]
            result[f"{root}in_proj_{rest[2:]}"] = torch.cat(parts)
    return result


def _is_rotated(key: str) -> bool:
    return key.startswith("language_model.") and key.endswith((".q_proj.weight", ".k_proj.weight"))


def _to_our_shape(key: str, heads: int) -> Callable[[Tensor], Tensor] | None:
    if _is_rotated(key):
        return partial(pairs_to_halves, heads=heads)
    if key.endswith((".start_tag", ".end_tag")):
        return Tensor.flatten
    return partial(Tensor.flatten, start_dim=1) if key.endswith(_POINTS) else None


def _to_their_shape(key: str, heads: int) -> Callable[[Tensor], Tensor] | None:
    if _is_rotated(key):
        return partial(halves_to_pairs, heads=heads)
    if key.endswith((".start_tag", ".end_tag")):
        return lambda tag: tag[None, None]
    return (lambda weight: weight[..., None, None]) if key.endswith(_POINTS) else None
