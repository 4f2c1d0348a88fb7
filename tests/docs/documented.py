"""The commands that README, docs, the cards of systems and help texts show, and where they can be run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from readme import ROOT, blocks

__all__ = ["PAGES", "calls", "documented", "placed"]

PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "src" / "vidweave" / "systems").rglob("README.md")),
]


def calls(text: str) -> list[list[str]]:
    """Arguments of every call of vidweave in the fenced blocks of a page."""
    result = []
    for block in blocks(text):
        if block.language in ("bash", "console"):
            for line in block.text.replace("\\\n", " ").splitlines():
                for part in re.split(r"&&|\|", re.sub(r"\s#\s.*", "", line)):
                    words = shlex.split(part.strip().removeprefix("$ "))
                    if words and Path(words[0]).name == "vidweave":
                        result.append(words[1:])
    return result


def documented() -> list[list[str]]:
    """Every documented call, once."""
    result: dict[str, list[str]] = {}
    for page in PAGES:
        for words in calls(page.read_text(encoding="utf-8")):
            result.setdefault(shlex.join(words), words)
    return list(result.values())


def placed(words: list[str]) -> list[str]:
    """The same call from any folder: files of the repository by their whole path."""
    here = ("examples/", "tests/")
    return [str(ROOT / word) if word.startswith(here) else word for word in words]
