"""Frozen weights that a trained part names instead of holding them.

Where `config.bases` maps a state-dict root (``encoders.rgb``, ``language_model``) to a base, the weights below that root
are read from the base: a folder, a shipped asset or a hub id. Its hash must be the one that was saved. A base holds
the names of our own slot, those of a whole model of ours with the same slot in the same place, or those of the
transformers model that the slot wraps.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from vidweave.errors import CheckpointError, UnknownNameError
from vidweave.model.files import listed, locate, read_weights, weights_hash

__all__ = ["base_state", "name_bases", "save_trained_part", "slot_state"]


def base_state(root: str, base: Mapping[str, Any], model: nn.Module, beside: Path) -> dict[str, Tensor]:
    """Weights of the frozen base below `root`, under their full names.

    Args:
        base: `source`, and the `sha256` that it must have (None: any).
        model: The whole model, on any device.
        beside: Folder of the trained part; a plain name also means a folder next to it.

    Raises:
        UnknownNameError: the model has nothing at `root`.
        CheckpointError: the base has changed since the trained part was saved, or does not fit the slot.
    """
    _slot(model, root)
    folder = locate(base["source"], beside)
    expected = base.get("sha256")
    if expected is not None and expected != (found := weights_hash(folder)):
        raise CheckpointError(
            f"base {base['source']!r} of {root!r} has hash {found[:12]}…, but the model was trained on "
            f"{expected[:12]}…; use that version of the base"
        )
    return slot_state(root, read_weights(folder), model, f"base {base['source']!r} of {root!r}")


def slot_state(root: str, state: dict[str, Tensor], model: nn.Module, what: str) -> dict[str, Tensor]:
    """Weights of a base, in any of the layouts that it may have, under the full names of the slot at `root`.

    Raises:
        UnknownNameError: the model has nothing at `root`.
        CheckpointError: weights that do not fit the slot; `what` names them.
    """
    module = _slot(model, root)
    state = {k.removeprefix(f"{root}."): t for k, t in state.items() if k.startswith(f"{root}.")} or state
    if not module.state_dict().keys() & state.keys():
        state = _of_transformers(what, state, module)
    return {f"{root}.{name}": tensor for name, tensor in state.items()}


def _of_transformers(what: str, state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Weights of the wrapped model under the names of `module`, read as transformers reads them.

    It knows the names of older releases, and how a model is named inside a larger one. Weights that the whole model has
    and the slot does not build are left out; any other key is an error.
    """
    wrapped = {name: child for name, child in module.named_children() if isinstance(child, PreTrainedModel)}
    if not wrapped:
        raise CheckpointError(f"{what} holds none of the names of a {type(module).__name__}; use a base that fits")
    ((prefix, inner),) = wrapped.items()
    whole: PreTrainedModel = getattr(module, "whole_model", lambda: inner)()
    dtype = next((t.dtype for t in state.values() if t.is_floating_point()), None)
    transformers_class: Any = type(whole)
    loaded, report = transformers_class.from_pretrained(
        None,
        config=copy.deepcopy(whole.config),
        state_dict=state,
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    own = set(inner.state_dict())
    neighbours = getattr(module, "neighbours", ())
    problems = [
        listed("missing", sorted(own & set(report["missing_keys"]))),
        listed("unexpected", sorted(k for k in report["unexpected_keys"] if not k.startswith(tuple(neighbours)))),
        listed("of another shape", sorted(str(key) for key, *_ in report["mismatched_keys"])),
    ]
    if any(problems):
        raise CheckpointError(f"{what} does not fit the slot: " + "; ".join(p for p in problems if p))
    return {f"{prefix}.{name}": tensor for name, tensor in loaded.state_dict().items() if name in own}


def _slot(model: nn.Module, root: str) -> nn.Module:
    modules = dict(model.named_modules())
    if not root or root not in modules:
        raise UnknownNameError("state-dict root", root, [name for name in modules if name and name.count(".") < 2])
    return modules[root]


def name_bases(model: nn.Module, bases: Mapping[str, str | Path], beside: Path) -> dict[str, dict[str, str]]:
    """State-dict root → source, as `config.bases` keeps it: with the hash of the weights that are there now.

    Raises:
        UnknownNameError: the model has nothing at a root.
        CheckpointError: a source that is nowhere, or holds no weights.
    """
    for root in bases:
        _slot(model, root)
    return {
        root: {"source": str(source), "sha256": weights_hash(locate(source, beside))} for root, source in bases.items()
    }


def save_trained_part(model: nn.Module, roots: Iterable[str], file: Path) -> None:
    """Write all weights of `model` except those below the given state-dict roots; of tied ones, the first alone."""
    below = tuple(root + "." for root in roots)
    tied = getattr(model, "all_tied_weights_keys", {})
    state = {name: tensor for name, tensor in model.state_dict().items() if name not in tied}
    kept = {name: tensor.contiguous() for name, tensor in state.items() if not name.startswith(below)}
    save_file(kept, file, metadata={"format": "pt"})
