"""Models on disk: whole, or the trained part beside the names of its frozen bases.

A folder holds `config.json`, `model.safetensors` (sharded when large) and the processor. Where `config.bases` maps a
state-dict root (``encoders.rgb``, ``language_model``) to a base, the weights below that root are not in the folder:
they are read from the base, a folder, a shipped asset or a hub id, and its hash must be the one that was saved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vidweave.errors import CheckpointError, UnknownNameError
from vidweave.model.assets import asset_folder

__all__ = ["base_state", "check_keys", "locate", "read_weights", "save_trained_part", "weights_hash"]


def locate(source: str | Path, beside: Path | None = None) -> Path:
    """A folder from a path, the name of a shipped asset, or a hub id (downloaded, never running code from it).

    A plain name also means a folder of that name next to the folder `beside`.

    Raises:
        CheckpointError: none of the three.
    """
    if beside is not None and Path(source).name == str(source) and (beside.parent / source).is_dir():
        return beside.parent / source
    folder = Path(source)
    if folder.is_dir():
        return folder
    shipped = asset_folder(str(source))
    if shipped is not None:
        return shipped
    if str(source).count("/") == 1 and not str(source).startswith((".", "/")):
        return _download(str(source))
    raise CheckpointError(f"{str(source)!r} is neither a folder, nor a shipped asset, nor a hub id (owner/name)")


def _download(repo_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        patterns = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
        return Path(snapshot_download(repo_id, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"could not fetch {repo_id!r} from the hub ({reason}); give a local folder instead"
        ) from error


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder's safetensors files (mapped, not copied, until they are used).

    Raises:
        CheckpointError: no file, or one that is truncated or not safetensors.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"{folder} holds no .safetensors file; convert the checkpoint first")
    state: dict[str, Tensor] = {}
    for file in files:
        try:
            state |= load_file(file)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{file.name} cannot be read as safetensors ({error}); fetch or save it again"
            ) from error
    return state


def weights_hash(folder: Path) -> str:
    """SHA-256 over a folder's safetensors files, in order of name."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def base_state(root: str, base: Mapping[str, Any], module: nn.Module, beside: Path) -> dict[str, Tensor]:
    """Weights of the frozen base below `root`, under their full names; `beside` is the folder of the trained part.

    Raises:
        CheckpointError: the base has changed since the trained part was saved.
    """
    folder = locate(base["source"], beside)
    found = weights_hash(folder)
    if base.get("sha256") not in (None, found):
        raise CheckpointError(
            f"base {base['source']!r} of {root!r} has hash {found[:12]}…, but the model was trained on "
            f"{base['sha256'][:12]}…; use that version of the base"
        )
    state = read_weights(folder)
    inner = _inner_prefix(state, module)
    return {f"{root}.{inner}{name}": tensor for name, tensor in state.items()}


def _inner_prefix(state: Mapping[str, Tensor], module: nn.Module) -> str:
    """Where the names of `state` stand below `module`: a folder of transformers names the wrapped model's own."""
    expected = module.state_dict()
    prefixes = ["", *(f"{name}." for name, _ in module.named_children())]
    return max(prefixes, key=lambda prefix: sum(prefix + name in expected for name in state))


def save_trained_part(module: nn.Module, roots: Iterable[str], file: Path) -> None:
    """Write all weights of `module` except those below the given state-dict roots."""
    roots = tuple(roots)
    for root in roots:
        if not any(name.startswith(root + ".") for name in module.state_dict()):
            raise UnknownNameError("state-dict root", root, {n.rsplit(".", 1)[0] for n in module.state_dict()})
    kept = {
        n: t.contiguous() for n, t in module.state_dict().items() if not n.startswith(tuple(r + "." for r in roots))
    }
    save_file(kept, file, metadata={"format": "pt"})


def check_keys(
    what: str, expected: Mapping[str, Tensor], state: Mapping[str, Tensor], *, tied: Iterable[str] = ()
) -> None:
    """All keys of `expected` and no other, with equal shapes.

    Raises:
        CheckpointError: lists missing, extra and mis-shaped keys.
    """
    missing = sorted(set(expected) - set(state) - set(tied))
    extra = sorted(set(state) - set(expected))
    shapes = [
        f"{name}: {tuple(state[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in sorted(set(state) & set(expected))
        if state[name].shape != expected[name].shape
    ]
    problems = [_listed("missing", missing), _listed("unexpected", extra), _listed("of another shape", shapes)]
    if any(problems):
        raise CheckpointError(f"{what} does not fit the model: " + "; ".join(p for p in problems if p))


def _listed(what: str, names: list[str], limit: int = 20) -> str:
    if not names:
        return ""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{len(names)} {what}: {', '.join(names[:limit])}{more}"
