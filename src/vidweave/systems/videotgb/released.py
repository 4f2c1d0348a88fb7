"""Mapping of the keys of `LSTP-7B.ckpt` and `LSTP-FlanT5xl.ckpt` to our names, without copying a tensor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from vidweave.connectors.qformer_keys import connector_keys
from vidweave.errors import CheckpointError
from vidweave.model.released import Checkpoint
from vidweave.model.sharded import LazyTensor
from vidweave.nn.keys import KeyTable
from vidweave.nn.raft import raft_from_published
from vidweave.systems.videotgb.bridge_keys import bridge_from_released

__all__ = ["Released", "check_roots", "form_of", "merge_lora", "to_ours"]

Form = Literal["blip2", "instructblip"]
LORA_ALPHA = 32
_LORA = re.compile(r"(.+)\.lora_([AB])\.default\.weight")
_ROOTS = ("model.", "temporal_encoder.", "of_extractor.")


@dataclass(frozen=True)
class Released:
    """Contents of a file under our names.

    Attributes:
        tensors: Our name → tensor, computed when it is written.
        merged: Weights that adapters were merged into.
        dropped: Keys of the file without a weight of ours → reason.
    """

    tensors: dict[str, LazyTensor]
    merged: tuple[str, ...]
    dropped: dict[str, str]


def check_roots(checkpoint: Checkpoint) -> None:
    """Raise CheckpointError for a file whose keys do not start like VideoTGB's."""
    state = checkpoint.state
    unknown = sorted(key for key in state if not key.startswith(_ROOTS))
    if unknown or not all(any(key.startswith(root) for key in state) for root in _ROOTS):
        problem = f"it has {', '.join(unknown[:4])}" if unknown else "one is missing"
        raise CheckpointError(
            f"{checkpoint.name} is no checkpoint of VideoTGB: keys start with {', '.join(_ROOTS)}; {problem}"
        )


def form_of(state: Mapping[str, Any]) -> Form:
    """Determine the model of the file: only InstructBLIP's Q-Former reads text."""
    return "instructblip" if "model.qformer.embeddings.word_embeddings.weight" in state else "blip2"


def to_ours(state: Mapping[str, Tensor], *, has_raft: bool, pooled: bool, dtype: torch.dtype | None = None) -> Released:
    """Rename all of a file for a model of `preset.videotgb`.

    Args:
        has_raft: The model estimates flow itself; otherwise RAFT's weights are dropped.
        pooled: The motion encoder pools over space: the bridge's pooling weights are moved there.
        dtype: Type of floating-point weights; None keeps them.

    Raises:
        CheckpointError: unknown keys; the message lists them.
    """
    dropped: dict[str, str] = {}
    parts = {root: {k.removeprefix(root): v for k, v in state.items() if k.startswith(root)} for root in _ROOTS}
    model, merged = merge_lora(parts["model."], dtype)
    for key in [key for key in model if key.startswith("temporal_projection.")]:
        del model[key]
        dropped[f"model.{key}"] = "motion tokens for the language model, which no code path computes"
    table = _model_table(form_of(state))
    dropped |= {f"model.{key}": "computed, not trained" for key in _dropped(table, model)}
    ours = table.to_ours(model)
    bridge = _bridge(parts["temporal_encoder."], pooled)
    dropped["temporal_encoder.embeddings.position_embeddings.weight"] = "loaded and never read by the original"
    dropped["temporal_encoder.temporal_embeddings.position_ids"] = "computed, not trained"
    ours |= {key: LazyTensor.of(value, dtype) for key, value in bridge.items()}
    raft = raft_from_published(parts["of_extractor."])
    if has_raft:
        ours |= {f"encoders.motion.raft.{key}": LazyTensor.of(value, dtype) for key, value in raft.items()}
    else:
        dropped["of_extractor.*"] = "RAFT; this model uses another source of motion"
    return Released(ours, merged, {key: why for key, why in dropped.items() if key in state or key.endswith("*")})


def merge_lora(
    state: Mapping[str, Tensor], dtype: torch.dtype | None = None, *, alpha: float = LORA_ALPHA
) -> tuple[dict[str, LazyTensor], tuple[str, ...]]:
    """Merge PEFT adapters into their matrices, W + alpha / r * B A, under the names without PEFT's prefixes.

    Raises:
        CheckpointError: a partial adapter, or one without its matrix.
    """
    adapters: dict[str, dict[str, Tensor]] = {}
    plain: dict[str, Tensor] = {}
    for key, value in state.items():
        match = _LORA.fullmatch(key)
        if match:
            adapters.setdefault(_without_peft(match[1]), {})[match[2]] = value
        else:
            plain[_without_peft(key)] = value
    merged: dict[str, LazyTensor] = {key: LazyTensor.of(value, dtype) for key, value in plain.items()}
    for name, halves in adapters.items():
        target = f"{name}.weight"
        if set(halves) != {"A", "B"} or target not in plain:
            raise CheckpointError(f"the adapter of {name} is incomplete: it has {sorted(halves)}, its matrix {target}")
        merged[target] = _merged(plain[target], halves["A"], halves["B"], alpha, dtype)
    return merged, tuple(f"{name}.weight" for name in sorted(adapters))


def _merged(weight: Tensor, down: Tensor, up: Tensor, alpha: float, dtype: torch.dtype | None) -> LazyTensor:
    kept = weight.dtype if dtype is None else dtype

    def make() -> Tensor:
        # in place on one copy: no second matrix of this size
        return weight.float().clone().addmm_(up.float(), down.float(), alpha=alpha / len(down)).to(kept)

    return LazyTensor(tuple(weight.shape), kept, make)


def _without_peft(key: str) -> str:
    return key.replace("language_model.base_model.model.", "language_model.").replace(".base_layer.", ".")


def _model_table(form: Form) -> KeyTable:
    connector = connector_keys(form)
    return KeyTable(
        (
            *((theirs, f"connector.{ours}") for theirs, ours in connector.pairs),
            ("vision_model.", "encoders.vision.tower."),
            ("language_model.", "language_model.model."),
        ),
        dropped=(*connector.dropped, r"language_model\..*rotary_emb\.inv_freq"),
    )


def _dropped(table: KeyTable, state: Mapping[str, Any]) -> list[str]:
    return [key for key in state if any(re.fullmatch(pattern, key) for pattern in table.dropped)]


def _bridge(state: Mapping[str, Tensor], pooled: bool) -> dict[str, Tensor]:
    ours = {f"selector.bridge.{key}": value for key, value in bridge_from_released(state).items()}
    if not pooled:
        return ours
    # sum over patches of w (W x + b) + c = W (sum of w x) + b sum(w) + c
    weight = ours.pop("selector.bridge.motion.spatial")
    bias = ours.pop("selector.bridge.motion.spatial_bias")
    ours["encoders.motion.pooling"] = weight
    ours["selector.bridge.motion.projection.bias"] = (
        ours["selector.bridge.motion.projection.bias"] * weight.sum() + bias
    )
    return ours
