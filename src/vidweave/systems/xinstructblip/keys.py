"""Mapping of X-InstructBLIP's state-dict names to ours. The original's modality names are image, pc, audio, video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vidweave.connectors.qformer_keys import LAVIS
from vidweave.encoders.beats import beats_from_microsoft
from vidweave.encoders.eva_vit import LAVIS_EVA_VIT, eva_from_lavis
from vidweave.encoders.pointbert import ULIP, pointbert_from_ulip
from vidweave.errors import CheckpointError
from vidweave.nn.keys import KeyTable

__all__ = ["NAMES", "Renamed", "encoder", "modalities_in", "qformer_keys", "rename"]

NAMES = {"image": "image", "pc": "point_cloud", "audio": "audio", "video": "video"}
NO_WEIGHT = "no weight of the model"


@dataclass(frozen=True)
class Renamed:
    """Weights under our names, and the reason for each dropped key."""

    state: dict[str, Tensor]
    dropped: dict[str, str]


def qformer_keys(theirs: str) -> KeyTable:
    """Key table of the original's Q-Former, norm, query tokens and projection of one modality, both ways."""
    ours = NAMES[theirs]
    return KeyTable(
        (
            *((f"{theirs}_Qformer.{a}", f"connector.trunks.{ours}.{b}") for a, b in LAVIS.pairs),
            (f"{theirs}_query_tokens", f"connector.ports.{ours}.query_tokens"),
            (f"{theirs}_ln.", f"connector.ports.{ours}.input_norm."),
            (f"{theirs}_llm_proj.", f"connector.ports.{ours}.output_proj."),
        ),
        dropped=tuple(rf"{theirs}_Qformer\.{pattern}" for pattern in LAVIS.dropped),
    )


def modalities_in(state: Mapping[str, Any]) -> tuple[str, ...]:
    """Our names of the modalities with query tokens in a file, in the order of `NAMES`."""
    return tuple(ours for theirs, ours in NAMES.items() if f"{theirs}_query_tokens" in state)


def rename(state: Mapping[str, Tensor], *, shared_vision: bool = True) -> Renamed:
    """Rename the weights of a released file, or of the original's whole model.

    Args:
        shared_vision: Images and frames share one tower (`encoders.vision`); a second copy must be equal to it.

    Raises:
        CheckpointError: an unknown key, or two different towers that should be equal.
    """
    parts = _by_root(state)
    result, dropped = {}, {}
    for theirs, ours in NAMES.items():
        table = qformer_keys(theirs)
        own = {key: value for key, value in state.items() if key.startswith(_roots_of(theirs))}
        result |= table.to_ours(own)
        dropped |= {key: NO_WEIGHT for key in own if table.drops(key)}
        encoder = parts.get(f"{theirs}_encoder.", {})
        if not encoder:
            continue
        renamed = _encoder(ours, encoder, shared_vision)
        _check_shared(result, renamed.state)
        result |= renamed.state
        dropped |= {f"{theirs}_encoder.{key}": why for key, why in renamed.dropped.items()}
    result |= {f"language_model.model.{key}": value for key, value in parts.get("llm_model.", {}).items()}
    return Renamed(result, dropped)


def encoder(role: str, state: Mapping[str, Tensor]) -> Renamed:
    """Rename a file of one encoder: LAVIS' EVA (`vision`), Microsoft's BEATs (`audio`), ULIP (`points`).

    Raises:
        CheckpointError: an unknown key.
    """
    convert, table = {
        "vision": (eva_from_lavis, LAVIS_EVA_VIT),
        "audio": (beats_from_microsoft, None),
        "points": (pointbert_from_ulip, ULIP),
    }[role]
    dropped = {key: NO_WEIGHT for key in state if table is not None and table.drops(key)}
    return Renamed({f"encoders.{role}.{key}": value for key, value in convert(state).items()}, dropped)


def _roots_of(theirs: str) -> tuple[str, ...]:
    return tuple(f"{theirs}_{part}" for part in ("Qformer.", "query_tokens", "ln.", "llm_proj."))


def _by_root(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Group the weights of encoders and language model by the prefix of their names, which is removed."""
    roots = [*(f"{theirs}_encoder." for theirs in NAMES), "llm_model."]
    known = [*roots, *(root for theirs in NAMES for root in _roots_of(theirs))]
    unknown = sorted(key for key in state if not key.startswith(tuple(known)))
    if unknown:
        raise CheckpointError(f"{len(unknown)} keys are none of X-InstructBLIP's: {', '.join(unknown[:8])}")
    return {r: {k.removeprefix(r): v for k, v in state.items() if k.startswith(r)} for r in roots}


def _encoder(ours: str, state: Mapping[str, Tensor], shared_vision: bool) -> Renamed:
    if ours == "audio":
        return encoder("audio", {key.removeprefix("model."): value for key, value in state.items()})
    if ours == "point_cloud":
        return encoder("points", state)
    renamed = encoder("vision", state)
    if shared_vision:
        return renamed
    own = {key.replace("encoders.vision.", f"encoders.{ours}_vision.", 1): v for key, v in renamed.state.items()}
    return Renamed(own, renamed.dropped)


def _check_shared(known: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> None:
    for key, value in new.items():
        if key in known and not (known[key].shape == value.shape and bool((known[key] == value).all())):
            raise CheckpointError(
                f"the towers of images and of frames differ ({key}); rename them with shared_vision=False, which keeps both"
            )
