"""Tokenizers from a folder or the hub, never with code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from vidweave.errors import CheckpointError

__all__ = ["load_tokenizer"]


def load_tokenizer(source: str | Path, *, revision: str | None = None) -> Any:
    """A transformers tokenizer from a folder (then nothing is downloaded) or a hub id.

    Raises:
        CheckpointError: it is not there, cannot be read, or would need to run code of its own.
    """
    is_local = Path(source).is_dir()
    try:
        return AutoTokenizer.from_pretrained(
            str(source), revision=revision, local_files_only=is_local, trust_remote_code=False
        )
    except Exception as error:  # a hostile or damaged folder can fail anywhere in transformers
        raise CheckpointError(
            f"cannot load a tokenizer from {str(source)!r}: {' '.join(str(error).split())}"
        ) from error
