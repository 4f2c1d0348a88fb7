"""Whatever says in words what a clip of one modality shows: models of vidweave, endpoints (transformers: `local_captioner`)."""

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
"""What the published captioners were asked, per modality of a clip."""

CAPTION_SAMPLING = Sampling(temperature=0.9, top_p=0.9, max_tokens=120, min_tokens=10, seed=42)
"""How the published captioners decoded."""


class Captioner(Protocol):
    """Anything that says what clips show; a `Clip` holds the one modality."""

    def caption(self, clips: Sequence[Clip]) -> list[str]:
        """One text per clip, in order; it depends on no other clip. Empty where there is nothing to say."""
        ...

    def with_engines(self, wrap: Wrap) -> Self:
        """The same captioner with each of its engines wrapped (by a cache that counts); itself if it has none."""
        ...

    def describe(self) -> dict[str, Any]:
        """What decides the texts, as JSON data."""
        ...


def prompt_for(clip: Clip, prompt: str | None) -> str:
    """`prompt`, or the published one of the clip's modality if that is None."""
    (modality,) = clip
    return CAPTION_PROMPTS.get(modality, f"Describe the {modality}.") if prompt is None else prompt


@dataclass(frozen=True, kw_only=True)
class AnswererCaptioner:
    """Any model of vidweave as a captioner.

    Attributes:
        model: What answers.
        prompt: What it is asked of each clip; the published prompt of the modality if left out.
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
    """A multimodal model behind an engine, normally an endpoint. What it said is kept, like all completions.

    Attributes:
        engine: Takes messages with parts of OpenAI's kinds.
        prompt: What it is asked of each clip; the published prompt of the modality if left out.
        video, num_frames: How a video is shown, see `content_parts.medium_parts`.
        sampling: As published.
        batch_size: Clips that are held in memory at once.
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
