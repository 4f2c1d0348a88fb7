"""Ask a model with a number of frames that follows the length of each clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vidweave.errors import ConfigError, ModalityError
from vidweave.media import open_clip
from vidweave.registry import MODALITIES
from vidweave.types import Answer, Answerer, Clip, Query

__all__ = ["AtFrameRate"]


class AtFrameRate:
    """An answerer that understands `fps=`: frames per second of each clip, at least one and at most all of its span.

    Queries whose clips get the same number of frames are answered together; without `fps` the model is asked as it is.

    Args:
        answerer: The model; it is asked with `num_frames`.
    """

    def __init__(self, answerer: Answerer) -> None:
        self._answerer = answerer
        self._counts: dict[Any, tuple[float, int]] = {}

    def describe(self) -> dict[str, Any]:
        """The model's own description."""
        return self._answerer.describe()

    def answer(self, queries: Sequence[Query], *, fps: float | None = None, **decoding: Any) -> list[Answer]:
        """Answer each query.

        Raises:
            ConfigError: `fps` together with `num_frames`, or not above 0.
            ModalityError: A clip without frames.
        """
        if fps is None:
            return self._answerer.answer(queries, **decoding)
        if "num_frames" in decoding or fps <= 0:
            raise ConfigError(f"fps must be above 0 and given without num_frames, got fps={fps:g} and {decoding}")
        groups: dict[int, list[int]] = {}
        for i, query in enumerate(queries):
            groups.setdefault(max(self._number(scene.clip, fps) for scene in query.scenes), []).append(i)
        answers: dict[int, Answer] = {}
        for number, members in groups.items():
            made = self._answerer.answer([queries[i] for i in members], num_frames=number, **decoding)
            answers |= zip(members, made, strict=True)
        return [answers[i] for i in range(len(queries))]

    def _number(self, clip: Clip, fps: float) -> int:
        seconds, available = self._length(clip)
        return min(max(1, round(seconds * fps)), available)

    def _length(self, clip: Clip) -> tuple[float, int]:
        """Return the length in seconds and the number of frames of the clip's span; each file is opened once."""
        modality = next((m for m in clip if MODALITIES.entry(m).facts.carrier == "frames"), None)
        if modality is None:
            raise ModalityError(f"a frame rate needs frames, the clip has {', '.join(clip)}; leave out --fps")
        source = clip[modality]
        key = (str(source) if isinstance(source, str) else id(source), tuple(clip.settings.values()))
        if key not in self._counts:
            with open_clip(clip, modality) as opened:
                times, duration = opened.timeline()
            start = clip.start_seconds or 0.0
            end = duration if clip.end_seconds is None else min(duration, clip.end_seconds)
            inside = int(((times >= start) & (times <= end)).sum())
            self._counts[key] = max(0.0, end - start), max(1, inside)
        return self._counts[key]
