"""Features of single frames of one clip: decoded and encoded in pieces, each frame once."""

# Axes: M frames, D width of the shared space

from __future__ import annotations

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
    """Frames that were `scored`, `decoded` and `encoded` for one question, and `calls` of the encoder."""

    scored: int = 0
    decoded: int = 0
    encoded: int = 0
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

    def of(self, positions: np.ndarray) -> Tensor:
        """Features (M, D) of the frames at ascending positions of the candidates, kept in entries of `ENTRY_FRAMES`.

        Raises:
            CancelledError: `cancel` was set; complete entries are kept.
        """
        self.counts.scored += len(positions)
        parts = [
            self._entry(positions[first : first + ENTRY_FRAMES]) for first in range(0, len(positions), ENTRY_FRAMES)
        ]
        return torch.cat(parts)

    def _entry(self, positions: np.ndarray) -> Tensor:
        indices = self.candidates.indices[positions]
        key = store_key(
            reading=READING, content=self.content, frames=indices.tolist(), dual_encoder=self.model.fingerprint
        )
        known = self.kept.get(key)
        if known is not None:
            return known
        features = self._compute(indices)
        info: dict[str, Any] = {"modality": "video", "encoder": self.model.source, "frames": len(indices)}
        self.kept.put(key, features, info)
        return features

    def _compute(self, indices: np.ndarray) -> Tensor:
        parts, first, step = [], 0, 1  # the first frame alone tells how large they are
        while first < len(indices):
            check_cancelled(self.cancel)
            frames = self.candidates.source.read_frames(indices[first : first + step])
            parts.append(self.model.embed_frames(frames, self.limits))
            self.counts.decoded += len(frames.values)
            self.counts.encoded += len(frames.values)
            self.counts.calls += 1
            first += step
            height, width = frames.values.shape[1:3]
            step = max(1, min(BATCH_FRAMES, BATCH_PIXELS // (height * width)))
        return torch.cat(parts)
