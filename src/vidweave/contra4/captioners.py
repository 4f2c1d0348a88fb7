"""Captioners for clips of one modality: vidweave models and endpoints (for transformers see `local_captioner`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from vidweave.contra4.content_parts import VideoForm, medium_parts, text_part
from vidweave.contra4.stage import Wrap, complete
from vidweave.engines import Engine, Request, Sampling
from vidweave.types import Answerer, Clip, Query

__all__ = ["CAPTION_PROMPTS", "CAPTION_SAMPLING", "AnswererCaptioner", "Captioner", "EngineCaptioner", "prompt_for"]

CAPTION_PROMPTS = {
    "image": "Describe the image.",
    "video": "Describe this set of frames. Consider the frames to be a part of the same video.",
    "audio": "Describe the audio.",
    "point_cloud": "Describe the 3D model",
}
"""Prompts of the published captioners, per modality of a clip."""

CAPTION_SAMPLING = Sampling(temperature=0.9, top_p=0.9, max_tokens=120, min_tokens=10, seed=42)
"""Decoding settings of the published captioners."""


class Captioner(Protocol):
    """Protocol of models that describe clips; each `Clip` holds exactly one modality."""

    def caption(self, clips: Sequence[Clip]) -> list[str]:
        """Return one text per clip, in order, each independent of the other clips; empty if nothing to describe."""
        ...

    def with_engines(self, wrap: Wrap) -> Self:
        """Return the same captioner with each engine wrapped (e.g. by a counting cache); itself if it has no engine."""
        ...

    def describe(self) -> dict[str, Any]:
        """Settings that determine the texts, as JSON data."""
        ...


def prompt_for(clip: Clip, prompt: str | None) -> str:
    """Return `prompt`, or the published prompt for the clip's modality if it is None."""
    (modality,) = clip
    return CAPTION_PROMPTS.get(modality, f"Describe the {modality}.") if prompt is None else prompt


@dataclass(frozen=True, kw_only=True)
class AnswererCaptioner:
    """Use any vidweave model as a captioner.

    Attributes:
        model: The answering model.
        prompt: Prompt for each clip; by default the published prompt of the modality.
        batch_size: Clips per call.
    """

    model: Answerer
    prompt: str | None = None
    batch_size: int = 16

    def caption(self, clips: Sequence[Clip]) -> list[str]:
        queries = [Query.about(clip, prompt_for(clip, self.prompt)) for clip in clips]
        batches = (queries[i : i + self.batch_size] for i in range(0, len(queries), self.batch_size))
        return [answer.text for batch in batches for answer in self.model.answer(batch)]

    def with_engines(self, wrap: Wrap) -> Self:
        return self

    def describe(self) -> dict[str, Any]:
        return {"captioner": "answerer", "model": self.model.describe(), "prompt": self.prompt}


@dataclass(frozen=True, kw_only=True)
class EngineCaptioner:
    """Use a multimodal model behind an engine (normally an endpoint) as a captioner; completions are cached.

    Attributes:
        engine: Accepts messages with content parts in OpenAI's format.
        prompt: Prompt for each clip; by default the published prompt of the modality.
        video, num_frames: How a video is sent, see `content_parts.medium_parts`.
        sampling: Decoding settings, as published.
        batch_size: Clips held in memory at once.
    """

    engine: Engine
    prompt: str | None = None
    video: VideoForm = "frames"
    num_frames: int = 4
    sampling: Sampling = CAPTION_SAMPLING
    batch_size: int = 64

    def caption(self, clips: Sequence[Clip]) -> list[str]:
        batches = (clips[i : i + self.batch_size] for i in range(0, len(clips), self.batch_size))
        return [text or "" for batch in batches for text in complete(self.engine, list(map(self._request, batch)))]

    def with_engines(self, wrap: Wrap) -> Self:
        return replace(self, engine=wrap(self.engine))

    def describe(self) -> dict[str, Any]:
        facts = {"captioner": "engine", "engine": self.engine.describe(), "prompt": self.prompt}
        return {**facts, "video": self.video, "num_frames": self.num_frames, "sampling": vars(self.sampling)}

    def _request(self, clip: Clip) -> Request:
        shown = medium_parts(clip, video=self.video, num_frames=self.num_frames)
        content = [*shown, text_part(prompt_for(clip, self.prompt))]
        return Request(prompt=({"role": "user", "content": content},), sampling=self.sampling)
