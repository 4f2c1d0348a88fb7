"""Folders that are shipped inside the package: tiny models and the frozen parts they share."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

__all__ = ["asset_folder", "asset_names"]


def _root() -> Path:
    return Path(str(files("vidweave") / "assets"))


def asset_folder(name: str) -> Path | None:
    """The folder of a shipped asset, or None; names are plain (no separators), so nothing outside can be named."""
    if not name or any(c in name for c in "/\\") or name.startswith("."):
        return None
    folder = _root() / name
    return folder if (folder / "model.safetensors").is_file() else None


def asset_names() -> list[str]:
    """Names of all shipped assets."""
    root = _root()
    return sorted(p.name for p in root.iterdir() if asset_folder(p.name)) if root.is_dir() else []
