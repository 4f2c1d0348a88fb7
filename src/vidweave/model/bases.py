"""Frozen weights that a trained part names instead of holding them.

Where `config.bases` maps a state-dict root (``encoders.rgb``, ``language_model``) to a base, weights below that root that
the model folder lacks are read from the base: a folder, a shipped asset or a hub id. Its hash must be the one that was
saved. Tensors in the model folder itself are never replaced, and a base with other values is an error. A base holds the
names of our own slot, those of a whole model of ours with the same slot in the same place, or those of the transformers
model that the slot wraps; adapters (LoRA) on the slot are no part of it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from vidweave.errors import CheckpointError, UnknownNameError
from vidweave.model.files import listed, locate, locate_base, named_base, read_weights, weights_hash
from vidweave.model.sharded import LazyTensor
from vidweave.types import PartOfLargerModel

__all__ = ["add_bases", "base_state", "slot_state", "without_bases"]


def add_bases(state: Mapping[str, Any], bases: Mapping[str, Any], model: nn.Module, folder: Path) -> dict[str, Any]:
    """The tensors of a model folder, and from its bases those that it lacks.

    Args:
        state: Tensors in the folder itself, loaded or lazy.
        bases: `config.bases` of the folder.
        model: The whole model, on any device.

    Raises:
        UnknownNameError, CheckpointError: as `base_state`; or folder and base hold a tensor with different values.
    """
    added = dict(state)
    for root, base in bases.items():
        held = base_state(root, base, model, folder)
        both = sorted(held.keys() & state.keys())
        clash = [name for name in both if not _is_same(LazyTensor.of(state[name]).make(), held[name])]
        if clash:
            raise CheckpointError(
                f"{folder} and the base {base['source']!r} of {root!r} hold {listed('different', clash, 3)}; to keep those "
                f"of the folder, which were trained, remove {root!r} from 'bases' in its config.json"
            )
        added = held | added
    return added


def without_bases(
    state: Mapping[str, Tensor], bases: Mapping[str, str | Path], model: nn.Module, folder: Path
) -> tuple[dict[str, Tensor], dict[str, dict[str, str]]]:
    """The tensors that a model folder must hold beside its bases, and the bases as `config.bases` names them.

    Args:
        state: All tensors of `model`.
        bases: State-dict root → folder, asset or hub id.
        folder: The model folder, which need not exist yet.

    Raises:
        UnknownNameError: the model has nothing at a root.
        CheckpointError: a source that is nowhere or holds no weights; or weights of the model that differ from its.
    """
    kept, named = dict(state), {}
    for root, source in bases.items():
        _slot(model, root)
        digest = weights_hash(locate(source, folder))
        named[root] = {"source": named_base(source, folder), "sha256": digest}
        held = base_state(root, {"source": named[root]["source"]}, model, folder)
        changed = sorted(name for name in held if name not in state or not _is_rounded(state[name], held[name]))
        if changed:
            raise CheckpointError(
                f"the weights below {root!r} are not those of the base {str(source)!r}: {listed('different', changed, 3)}; "
                f"leave {root!r} out of `bases`, so that they are written"
            )
        kept = {name: tensor for name, tensor in kept.items() if name not in held}
    return kept, named


def _is_same(one: Tensor, other: Tensor) -> bool:
    """Whether all values are equal, NaN to NaN too; in another dtype if that holds them exactly."""
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())


def _is_rounded(tensor: Tensor, source: Tensor) -> bool:
    """Whether a tensor holds the values of its source in its own dtype."""
    return _is_same(tensor.detach().cpu(), source.to(tensor.dtype))


def base_state(root: str, base: Mapping[str, Any], model: nn.Module, beside: Path) -> dict[str, Tensor]:
    """Weights of the frozen base below `root`, under their full names.

    Args:
        base: `source` (see `files.locate_base`), and the `sha256` that it must have (None: any).
        model: The whole model, on any device.
        beside: Folder of the trained part.

    Raises:
        UnknownNameError: the model has nothing at `root`.
        CheckpointError: the base has changed since the trained part was saved, or does not fit the slot.
    """
    _slot(model, root)
    folder = locate_base(base["source"], beside)
    expected = base.get("sha256")
    if expected is not None and expected != (result := weights_hash(folder)):
        raise CheckpointError(
            f"base {base['source']!r} of {root!r} has hash {result[:12]}…, but the model was trained on "
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
    own = _names_without_adapters(module)
    if not own.keys() & state.keys():
        state = _of_transformers(what, state, module)
    return {f"{root}.{own.get(name, name)}": tensor for name, tensor in state.items()}


def _names_without_adapters(module: nn.Module) -> dict[str, str]:
    """Name of each tensor before PEFT adapters were attached to its matrix → its name now."""
    return {name.replace(".base_layer.", "."): name for name in module.state_dict() if ".lora_" not in name}


def _of_transformers(what: str, state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Weights of the wrapped model under the names of `module`, read as transformers reads them.

    It handles the names of older releases, and those of a model inside a larger one. Weights that the whole model has
    and the slot does not build are left out; any other key is an error.
    """
    wrapped = {name: child for name, child in module.named_children() if isinstance(child, PreTrainedModel)}
    if not wrapped:
        raise CheckpointError(f"{what} holds none of the names of a {type(module).__name__}; use a base that fits")
    ((prefix, inner),) = wrapped.items()
    is_part = isinstance(module, PartOfLargerModel)
    whole: PreTrainedModel = module.whole_model() if is_part else inner
    neighbours = tuple(module.neighbours) if is_part else ()
    state = {name: tensor for name, tensor in state.items() if not name.startswith(neighbours)}
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
    own = set(_names_without_adapters(inner))
    problems = [
        listed("missing", sorted(own & set(report["missing_keys"]))),
        listed("unexpected", sorted(k for k in report["unexpected_keys"] if not k.startswith(neighbours))),
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
