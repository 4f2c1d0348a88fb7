"""Features of single frames of one clip: decoded and encoded in pieces, each frame once."""

# Axes: M frames, D width of the shared space

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidweave.media.limits import DEFAULT_LIMITS, Limits
from vidweave.media.store import store_key
from vidweave.pipelines.frame_selection.kept_features import KeptFeatures
from vidweave.pipelines.frame_selection.text_model import FrameTextModel
from vidweave.pipelines.frame_selection.timeline import Candidates
from vidweave.pipelines.selecting import check_cancelled

__all__ = ["ClipFeatures", "Counts"]

READING = 1  # version of the readers; raise it when they read other values from the same bytes
ENTRY_FRAMES = 256  # of one stored entry: a killed index goes on from the last one
BATCH_FRAMES = 32  # decoded and encoded at a time
BATCH_PIXELS = 2**26  # and fewer where frames are large


@dataclass
class Counts:
    """Frames that were `scored` for one question, those that were `decoded` and encoded now, and `calls` of the encoder."""

    scored: int = 0
    decoded: int = 0
    calls: int = 0


@dataclass(eq=False)
class ClipFeatures:
    """Features of a clip's frames for one question.

    Attributes:
        content: Hash of the video's content.
        counts: Of this question.
    """

    candidates: Candidates
    content: str
    model: FrameTextModel
    kept: KeptFeatures
    limits: Limits = DEFAULT_LIMITS
    cancel: Event | None = None
    counts: Counts = field(default_factory=Counts)
    _step: int = 4  # frames of the next piece; the first ones tell how large they are

    def of(self, groups: Sequence[np.ndarray]) -> list[Tensor]:
        """Features (M, D) of each group of ascending positions of the candidates; each piece of a group is one stored entry.

        Raises:
            CancelledError: `cancel` was set; complete entries are kept.
        """
        pieces = [_pieces(group) for group in groups]
        entries = [self._entry(piece) for group in pieces for piece in group]
        known = {entry.key: self.kept.get(entry.key) for entry in entries}
        unknown = [entry for entry in entries if known[entry.key] is None]
        for batch in _batches(unknown):
            known |= self._compute(batch)
        self.counts.scored += sum(len(group) for group in groups)
        features = iter(entries)
        return [torch.cat([_present(known[next(features).key]) for _ in group]) for group in pieces]

    def _entry(self, positions: np.ndarray) -> _Entry:
        indices = self.candidates.indices[positions]
        parts = {"content": self.content, "frames": indices.tolist(), "dual_encoder": self.model.fingerprint}
        return _Entry(store_key(reading=READING, **parts), indices)

    def _compute(self, entries: Sequence[_Entry]) -> dict[str, Tensor]:
        """Decode and encode the frames of some entries together, in order of time, and keep the entries."""
        indices = np.unique(np.concatenate([entry.indices for entry in entries]))
        features = self._encode(indices)
        computed = {}
        for entry in entries:
            own = features[np.searchsorted(indices, entry.indices)]
            info: dict[str, Any] = {"modality": "video", "encoder": self.model.source, "frames": len(own)}
            self.kept.put(entry.key, own, info)
            computed[entry.key] = own
        self.kept.flush()
        return computed

    def _encode(self, indices: np.ndarray) -> Tensor:
        parts, first = [], 0
        while first < len(indices):
            check_cancelled(self.cancel)
            frames = self.candidates.source.read_frames(indices[first : first + self._step])
            parts.append(self.model.embed_frames(frames, self.limits))
            self.counts.decoded += len(frames.values)
            self.counts.calls += 1
            first += len(frames.values)
            height, width = frames.values.shape[1:3]
            self._step = max(1, min(BATCH_FRAMES, BATCH_PIXELS // (height * width)))
        return torch.cat(parts)


@dataclass(frozen=True, eq=False)
class _Entry:
    """A stored entry: its key, and indices (M,) of its frames in the file, ascending."""

    key: str
    indices: np.ndarray


def _pieces(positions: np.ndarray) -> list[np.ndarray]:
    return [positions[first : first + ENTRY_FRAMES] for first in range(0, len(positions), ENTRY_FRAMES)]


def _batches(entries: Sequence[_Entry]) -> Iterator[list[_Entry]]:
    """Entries that are computed together: at least `ENTRY_FRAMES` frames, as far as there are so many."""
    batch: list[_Entry] = []
    for entry in entries:
        batch.append(entry)
        if sum(len(e.indices) for e in batch) >= ENTRY_FRAMES:
            yield batch
            batch = []
    if batch:
        yield batch


def _present(features: Tensor | None) -> Tensor:
    assert features is not None
    return features
