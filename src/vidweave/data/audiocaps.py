"""AudioCaps: captions of recordings, or questions and answers about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from vidweave.data.dataset import Dataset, Row
from vidweave.data.schema import Example, named

__all__ = ["QUESTION", "AudioCapsQA"]

QUESTION = "What does the audio describe?"  # vidweave's own: CREMA's questions about captions were not released


@dataclass(frozen=True, kw_only=True)
class AudioCapsQA(Dataset):
    """AudioCaps: the official caption table, or CREMA's questions for training an audio adapter.

    The five captions of a val or test clip are its references; the question is vidweave's own.
    """

    name: ClassVar[str] = "audiocaps"
    layout: ClassVar[Mapping[str, tuple[str, ...]]] = {"audio": ("{root}/{name}.wav", "{root}/audio/{name}.wav")}

    @classmethod
    def parse(cls, row: Row) -> Example:
        """Parse an object ``id, question, answer``, or a clip with its captions."""
        if "captions" in row:
            name, captions = str(row["audiocap_id"]), tuple(row["captions"])
            return Example(id=name, query=named(name, QUESTION), answer=captions[0], answers=captions, media=name)
        name = str(row["id"])
        return Example(id=name, query=named(name, row["question"]), answer=row["answer"], media=name)

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Iterate over the rows; the captions of one clip (video and start) form one row."""
        clips: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
        for where, row in super().rows():
            if "caption" not in row or "youtube_id" not in row:
                yield where, row
                continue
            key = (row["youtube_id"], row.get("start_time", ""))
            clip = clips.setdefault(key, (where, {**row, "captions": []}))[1]
            clip["captions"].append(row["caption"])
            self._youtube.setdefault(str(clip["audiocap_id"]), row["youtube_id"])
        yield from clips.values()

    @cached_property
    def _youtube(self) -> dict[str, str]:
        return {}

    def source(self, modality: str, name: str) -> Any:
        """Find a recording by the id of a caption or of its video."""
        source = super().source(modality, name)
        return (
            source if source is not None or name not in self._youtube else super().source(modality, self._youtube[name])
        )
