"""AudioCaps as questions and answers about recordings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vidweave.data.dataset import Dataset, Row
from vidweave.data.schema import Example, named

__all__ = ["AudioCapsQA"]


@dataclass(frozen=True, kw_only=True)
class AudioCapsQA(Dataset):
    """Questions about clips of AudioCaps, which train an adapter for audio."""

    name: ClassVar[str] = "audiocaps"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = {"audio": ("{root}/{name}.wav",)}

    @classmethod
    def parse(cls, row: Row) -> Example:
        """An object ``id, question, answer``."""
        name = str(row["id"])
        return Example(id=name, query=named(name, row["question"]), truth=row["answer"], media=name)
