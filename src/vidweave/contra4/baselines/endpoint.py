"""Multimodal models behind an endpoint: every scene travels as a content part, beside its true label.

The released script for Gemini put the question in front of the scenes before it counted them off, so that no label fitted
its scene; its published numbers are below chance for that reason and are not reproduced here.
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
    """Shows the scenes to a multimodal model in one message: label, medium, …, question with its options.

    Attributes:
        engine: Takes messages with parts of OpenAI's kinds (`image_url`, `input_audio`, `video_url`).
        video, num_frames: How a video is shown, see `content_parts.medium_parts`.
        sampling: Greedy and short.
    """

    engine: Engine
    video: VideoForm = "frames"
    num_frames: int = 4
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=30))

    def describe(self) -> dict[str, Any]:
        engine = self.engine.describe()
        return {"model": engine["model"], "engine": engine, "video": self.video, "num_frames": self.num_frames}

    def answer(self, queries: Sequence[Query], *, trace: bool | str = True, **decoding: Any) -> list[Answer]:
        """One answer per query.

        Raises:
            ModalityError: a scene of a modality that no endpoint takes (3D among them).
            MediaError: a medium that cannot be read.
            QueryError: decoding arguments other than `num_frames`.
        """
        count = decoding.pop("num_frames", self.num_frames)
        if decoding:
            raise QueryError(f"{', '.join(decoding)} would do nothing: an endpoint has a sampling of its own")
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
