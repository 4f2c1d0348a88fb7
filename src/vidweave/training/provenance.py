"""What a trained asset says of how it was made."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["write_facts"]


def write_facts(folder: Path, recipe: str | Path, out: Path, facts: Mapping[str, Any]) -> None:
    """Write ``asset.json`` beside weights: the recipe, the hash of its run in `out`, its commit, and `facts`.

    Args:
        folder: Of the asset; made if it is not there.
        recipe: The file of the recipe (``__file__``), named by its last three parts; its repository tells the commit,
            `unknown` outside of one.
        out: Folder of the run, with its ``run.json``.
        facts: Settings and figures.
    """
    path = Path(recipe).resolve()
    made = {"recipe": "/".join(path.parts[-3:]), "run": json.loads((out / "run.json").read_text())["hash"]}
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**made, "commit": _commit(path.parent), **facts}, indent=2)
    (folder / "asset.json").write_text(text + "\n", encoding="utf-8")


def _commit(folder: Path) -> str:
    asked = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"  # no git on this machine
    return done.stdout.strip() or "unknown"
