"""Model folders: find them, read their files, and check that they fit.

A folder holds `config.json`, `model.safetensors` (sharded when large) and the processor; `model.swap` writes them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vidweave.errors import CheckpointError
from vidweave.model.assets import asset_folder
from vidweave.model.released import read_checkpoint
from vidweave.model.swap import current
from vidweave.storage.regular_files import read_json_mapping, require_regular

__all__ = [
    "DOWNLOADED",
    "PICKLED_WEIGHTS",
    "check_keys",
    "files_hash",
    "listed",
    "locate",
    "locate_base",
    "named_base",
    "reaching",
    "read_json",
    "read_model_type",
    "read_weights",
    "weight_files",
    "weights_hash",
]

PICKLED_WEIGHTS = "pytorch_model.bin"  # transformers' name before safetensors
DOWNLOADED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def locate(source: str | Path, beside: Path | None = None, *, pickled: Sequence[str] = ()) -> Path:
    """A folder from a path, the name of a shipped asset, or a hub id (downloaded, never running code from it).

    A plain name also means a folder of that name next to the folder `beside`. `pickled` are names of further files to
    download: pickled weights, for converters that read tensors alone.

    Raises:
        CheckpointError: none of the three.
    """
    if beside is not None and _is_neighbor(source, beside):
        return beside.absolute().parent / source
    folder = Path(source)
    if folder.is_dir():
        return folder
    shipped = asset_folder(str(source))
    if shipped is not None:
        return shipped
    return _from_hub(source, pickled)


def locate_base(source: str, beside: Path) -> Path:
    """The folder of a base as a configuration names it; the working directory has no part in it.

    Args:
        source: An absolute path, a path relative to the model folder (`../name`), the name of a folder next to the
            model folder or of a shipped asset, or a hub id.
        beside: The model folder.

    Raises:
        CheckpointError: nothing of these is there.
    """
    if Path(source).is_absolute() or source.startswith(("./", "../")):
        folder = Path(os.path.normpath(beside.resolve() / source))
        if not folder.is_dir():
            raise CheckpointError(f"the base {source!r} of {beside} is not there; put it back, or correct config.json")
        return folder
    if _is_neighbor(source, beside):
        return beside.absolute().parent / source
    return asset_folder(source) or _from_hub(source)


def named_base(source: str | Path, beside: Path) -> str:
    """`source` as a configuration names it, so that it is found from any working directory: a path becomes absolute, or
    relative to the model folder `beside` if the two are neighbors."""
    if _is_neighbor(source, beside) or not Path(source).is_dir():
        return str(source)  # also an asset or a hub id
    path = Path(source).resolve()
    return f"../{path.name}" if path.parent == beside.resolve().parent else str(path)


def _is_neighbor(source: str | Path, folder: Path) -> bool:
    return Path(source).name == str(source) and (folder.absolute().parent / source).is_dir()


def _from_hub(source: str | Path, pickled: Sequence[str] = ()) -> Path:
    name = str(source)
    if isinstance(source, str) and name.count("/") == 1 and not name.startswith((".", "/")):
        return _download(name, pickled)
    raise CheckpointError(f"{name!r} is neither a folder, nor a shipped asset, nor a hub id (owner/name)")


def _download(repo_id: str, pickled: Sequence[str] = ()) -> Path:
    from huggingface_hub import snapshot_download

    with reaching(repo_id):
        return Path(snapshot_download(repo_id, allow_patterns=[*DOWNLOADED, *pickled]))


@contextmanager
def reaching(repo_id: str) -> Iterator[None]:
    """Turn the hub's errors into one line of ours."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        yield
    except GatedRepoError as error:
        raise CheckpointError(
            f"{repo_id!r} is gated: accept its terms on its page of the hub, log in with `hf auth login`, and try again"
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"could not fetch {repo_id!r} from the hub ({reason}); give a local folder instead"
        ) from error


def read_json(file: Path) -> dict[str, Any]:
    """A mapping from a JSON file of a model folder, as `storage.regular_files.read_json_mapping` reads it."""
    return read_json_mapping(current(file.parent) / file.name)


def read_model_type(folder: Path) -> str:
    """The `model_type` of the folder's config.json: the kind of the model; raises CheckpointError."""
    result = read_json(folder / "config.json").get("model_type")
    if not isinstance(result, str):
        raise CheckpointError(f"{folder} has no readable config.json with a model_type (it is {result!r})")
    return result


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder's weight files (mapped, not copied, until they are used).

    Raises:
        CheckpointError: no file, or one that is truncated or of another kind; an index that names other files; pickled
            weights that would have to run code.
    """
    state: dict[str, Tensor] = {}
    for file in weight_files(folder):
        if file.suffix == ".bin":
            state |= read_checkpoint(file).state
            continue
        try:
            state |= load_file(file)
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{file.name} cannot be read as safetensors ({error}); fetch or save it again"
            ) from error
    return state


def weights_hash(folder: Path) -> str:
    """SHA-256 over a folder's weight files, in order of name."""
    return files_hash(weight_files(folder))


def files_hash(files: Iterable[Path], *, progress: Callable[[int], None] | None = None) -> str:
    """SHA-256 over the bytes of `files`, one after the other; `progress` is called with the bytes of each piece."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
                if progress is not None:
                    progress(len(chunk))
    return digest.hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """`model.safetensors`, or the shards that the index names, else every safetensors file, in order of name; where there
    is none, the pickled weights by transformers' names, whole or in shards, which are read as tensors alone."""
    folder = current(folder)
    for file in (*folder.glob("*.safetensors"), *folder.glob("*.bin")):
        require_regular(file)
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file() and index.is_file():
        raise CheckpointError(
            f"{folder} holds both {whole.name} and the shards of {index.name}, one of which is out of date; remove one"
        )
    if whole.is_file():
        return [whole]
    if index.is_file():
        return _shards(index, ".safetensors")
    return sorted(folder.glob("*.safetensors")) or _pickled_files(folder)


def _pickled_files(folder: Path) -> list[Path]:
    whole, index = folder / PICKLED_WEIGHTS, folder / f"{PICKLED_WEIGHTS}.index.json"
    if whole.is_file():
        return [whole]
    if index.is_file():
        return _shards(index, ".bin")
    others = sorted(file.name for pattern in PICKLED for file in folder.glob(pattern))
    result = f", only {', '.join(others[:3])}" if others else ""
    raise CheckpointError(
        f"{folder} holds no .safetensors file and no {PICKLED_WEIGHTS}{result}; convert the checkpoint first (load it with "
        "its own library, then save_pretrained with safetensors)"
    )


def _shards(index: Path, suffix: str) -> list[Path]:
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise CheckpointError(f"{index} has no weight_map from keys to file names; fetch or save it again")
    shards = sorted(set(names.values()))
    for name in shards:
        if Path(name).name != name or not name.endswith(suffix):
            raise CheckpointError(f"{index.name} names {name!r}, which is no {suffix[1:]} file of its own folder")
        if not (index.parent / name).is_file():
            raise CheckpointError(f"{index.parent} lacks the shard {name}; fetch it")
    return [index.parent / name for name in shards]


def check_keys(
    what: str, expected: Mapping[str, Tensor], state: Mapping[str, Any], *, tied: Iterable[str] = ()
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
    """Number of `names` that are missing or unexpected (`what`), and the first of them; empty if there are none."""
    if not names:
        return ""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{len(names)} {what}: {', '.join(names[:limit])}{more}"
