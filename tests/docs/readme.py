"""README, taken apart: its fenced blocks, and its two commands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and how many words of prose and code stand before its end."""

    language: str
    text: str
    words_to_end: int


def blocks(text: str) -> list[Block]:
    """Fenced blocks of a Markdown text, in order."""
    result = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [Block(m[1], m[2].strip("\n"), len(text[: m.end()].split())) for m in result]


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """The shell commands of README's first screen: the first two `bash` blocks."""
    return [block.text for block in blocks(readme()) if block.language == "bash"][:2]


def printed_answer() -> str:
    """What README says that command one prints: the first `text` block."""
    return next(block.text for block in blocks(readme()) if block.language == "text")
