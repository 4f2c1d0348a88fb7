"""Load tokenizers from a folder or the hub, never with remote code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from vidweave.errors import CheckpointError
from vidweave.storage.regular_files import require_regular_files

__all__ = ["load_tokenizer"]


def load_tokenizer(source: str | Path, *, revision: str | None = None) -> Any:
    """Load a transformers tokenizer from a folder (without any download) or a hub id.

    Raises:
        CheckpointError: it does not exist, contains other than regular files, cannot be read, or needs remote code.
    """
    is_local = Path(source).is_dir()
    if is_local:
        require_regular_files(Path(source))
    try:
        return AutoTokenizer.from_pretrained(
            str(source), revision=revision, local_files_only=is_local, trust_remote_code=False
        )
    except Exception as error:  # a malicious or damaged folder can fail anywhere in transformers
        raise CheckpointError(
            f"cannot load a tokenizer from {str(source)!r}: {' '.join(str(error).split())}"
        ) from error
