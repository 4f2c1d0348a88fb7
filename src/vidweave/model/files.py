"""Folders with models: where they are, what their files hold, and whether that fits.

A folder holds `config.json`, `model.safetensors` (sharded when large) and the processor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vidweave.errors import CheckpointError
from vidweave.model.assets import asset_folder

__all__ = ["check_keys", "listed", "locate", "read_weights", "weights_hash"]


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
    problems = [listed("missing", missing), listed("unexpected", extra), listed("of another shape", shapes)]
    if any(problems):
        raise CheckpointError(f"{what} does not fit the model: " + "; ".join(p for p in problems if p))


def listed(what: str, names: list[str], limit: int = 20) -> str:
    """How many `names` are missing or unexpected (`what`), and the first of them; empty if there are none."""
    if not names:
        return ""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{len(names)} {what}: {', '.join(names[:limit])}{more}"
