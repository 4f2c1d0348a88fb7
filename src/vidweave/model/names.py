"""Resolve a model's name from texts and folders, without importing torch."""

from __future__ import annotations

from pathlib import Path

from vidweave.errors import ModelNotFoundError, UnknownNameError
from vidweave.registry import MODELS

__all__ = ["SAVED", "current", "find_model"]

SAVED = ".vidweave-saved"  # a complete save that was interrupted before its files took their places (model/swap.py)


def current(folder: Path) -> Path:
    """The folder that holds the current files of a model folder: itself, unless a save was interrupted just before its
    end."""
    saved = folder / SAVED
    return saved if saved.is_dir() else folder


def find_model(name: str | Path) -> Path | str:
    """Resolve any argument of `vidweave.load` to a folder, the name of a shipped asset, or a hub id.

    Raises:
        UnknownNameError: nothing has that name; lists near matches.
        ModelNotFoundError: a configuration without weights, a file, or a folder without a model.
    """
    text = str(name)
    if text in MODELS:
        return _weights(text)
    path = Path(name)
    if path.is_dir():
        if not (current(path) / "config.json").is_file():
            raise ModelNotFoundError(
                f"the folder {text!r} has no readable config.json, so that it holds no model; give one that has"
            )
        return path
    looks_like_id = text.count("/") == 1 and not text.startswith((".", "/", "~")) and all(text.split("/"))
    if looks_like_id and not path.parent.is_dir():
        return text
    if path.exists() or "/" in text:
        raise ModelNotFoundError(f"{text!r} is not a folder with a model; give the folder that holds config.json")
    raise UnknownNameError("model", text, MODELS, "(a local folder or a hub id owner/name works too)")


def _weights(name: str) -> str:
    facts = MODELS.entry(name).facts
    if not facts.weights:
        raise ModelNotFoundError(f"{name!r} is a configuration without published weights in our layout; {facts.get}")
    return str(facts.weights)
