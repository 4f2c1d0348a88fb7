"""Baseline for multimodal models behind an endpoint: every scene is a content part next to its correct label.

The released script for Gemini inserted the question before the scenes and then numbered the parts, so that no label
matched its scene; its published numbers are below chance for that reason and are not reproduced here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from vidweave.contra4.baselines.captions import completed
from vidweave.contra4.content_parts import Part, VideoForm, medium_parts, text_part
from vidweave.engines import Engine, Request, Sampling
from vidweave.errors import QueryError
from vidweave.types import Answer, Query

__all__ = ["EndpointAnswerer"]


@dataclass(frozen=True, kw_only=True)
class EndpointAnswerer:
    """Send the scenes to a multimodal model in one message: label, medium, …, question with its options.

    Attributes:
        engine: Accepts messages with parts in OpenAI's format (`image_url`, `input_audio`, `video_url`).
        video, num_frames: How a video is sent, see `content_parts.medium_parts`.
        sampling: Decoding settings; greedy and short.
    """

    engine: Engine
    video: VideoForm = "frames"
    num_frames: int = 4
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=30))

    def describe(self) -> dict[str, Any]:
        engine = self.engine.describe()
        return {"model": engine["model"], "engine": engine, "video": self.video, "num_frames": self.num_frames}

    def answer(self, queries: Sequence[Query], *, trace: bool | str = True, **decoding: Any) -> list[Answer]:
        """Return one answer per query.

        Raises:
            ModalityError: a scene of a modality that endpoints do not accept (3D, for example).
            MediaError: a medium that cannot be read.
            QueryError: decoding arguments other than `num_frames`.
        """
        count = decoding.pop("num_frames", self.num_frames)
        if decoding:
            raise QueryError(f"{', '.join(decoding)} would have no effect: the endpoint has its own sampling settings")
        messages = [{"role": "user", "content": list(self._parts(query, count))} for query in queries]
        requests = [Request(prompt=(message,), sampling=self.sampling) for message in messages]
        return completed(self.engine, requests, first_line=False)

    def _parts(self, query: Query, num_frames: int) -> Iterator[Part]:
        for scene in query.scenes:
            yield text_part(f"{scene.label}: ")
            yield from medium_parts(scene.clip, video=self.video, num_frames=num_frames)
        options = f" Choose from: {', '.join(query.options)}" if query.options else ""
        yield text_part(f"{query.text}{options}")
        yield text_part("Answer:")
