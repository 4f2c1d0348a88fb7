"""The config.json of a folder or hub id, looked at before transformers does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from vidweave.errors import CheckpointError
from vidweave.nn.config_keys import refuse_code, refuse_lookups
from vidweave.storage.regular_files import read_json_mapping, require_regular_files

__all__ = ["config_of", "guard_source", "source_file"]


def guard_source(source: str | Path, revision: str | None = None) -> dict[str, Any]:
    """Arguments for `from_pretrained` of transformers, after a look at what it would read: no code, and of a folder
    regular files only and nothing from the network.

    Raises:
        CheckpointError: no readable config.json, or one that can run code; or a folder whose configuration looks models
            up on the hub.
    """
    data, is_local = config_of(source, revision), Path(source).is_dir()
    where = f"the configuration of {str(source)!r}"
    refuse_code(data, where)
    if is_local:
        refuse_lookups(data, where)
        require_regular_files(Path(source))
    return {"revision": revision, "trust_remote_code": False, "local_files_only": is_local}


def config_of(source: str | Path, revision: str | None = None) -> dict[str, Any]:
    """What the config.json of a folder or hub id holds; raises CheckpointError."""
    file = source_file(source, "config.json", revision)
    if file is None:
        raise CheckpointError(f"cannot read the configuration of {str(source)!r}: there is no config.json")
    return read_json_mapping(file)


def source_file(source: str | Path, name: str, revision: str | None = None) -> Path | None:
    """A file of a folder or hub id; None if it has none of that name.

    Raises:
        CheckpointError: neither a folder nor a hub id that can be reached.
    """
    if Path(source).is_dir():
        file = Path(source) / name
        return file if file.exists() else None
    try:
        result = cached_file(str(source), name, revision=revision, _raise_exceptions_for_missing_entries=False)
    except OSError as error:
        raise CheckpointError(f"cannot read the configuration of {str(source)!r}: {error}") from error
    return None if result is None else Path(result)
