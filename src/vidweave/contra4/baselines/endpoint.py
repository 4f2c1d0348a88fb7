"""Multimodal models behind an endpoint: every scene travels as a content part, beside its true label.

The released script for Gemini put the question in front of the scenes before it counted them off, so that no label fitted
its scene; its published numbers are below chance for that reason and are not reproduced here.
"""

# Axes: H height, W width

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from PIL import Image

from vidweave.contra4.baselines.captions import completed
from vidweave.engines import Engine, Request, Sampling
from vidweave.errors import ModalityError, QueryError
from vidweave.media import open_source, write_audio
from vidweave.types import Answer, Clip, Query

__all__ = ["EndpointAnswerer"]

Part = dict[str, Any]
SAMPLE_RATE = 16_000
MAX_FILE_BYTES = 20_000_000  # of a video that is sent whole; servers refuse much larger requests


@dataclass(frozen=True, kw_only=True)
class EndpointAnswerer:
    """Shows the scenes to a multimodal model in one message: label, medium, …, question with its options.

    Attributes:
        engine: Takes messages with parts of OpenAI's kinds (`image_url`, `input_audio`, `video_url`).
        video: As `frames` (pictures, understood everywhere) or whole as `video_url` (vLLM, Gemini).
        num_frames: Of a video, evenly spaced, if it is sent as frames.
        sampling: Greedy and short.
    """

    engine: Engine
    video: Literal["frames", "file"] = "frames"
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
        return completed(self.engine, [Request(prompt=(message,), sampling=self.sampling) for message in messages])

    def _parts(self, query: Query, num_frames: int) -> Iterator[Part]:
        for scene in query.scenes:
            yield _text(f"{scene.label}: ")
            yield from self._medium(scene.clip, num_frames)
        options = f" Choose from: {', '.join(query.options)}" if query.options else ""
        yield _text(f"{query.text}{options}")
        yield _text("Answer:")

    def _medium(self, clip: Clip, num_frames: int) -> Iterator[Part]:
        for modality in clip:
            if modality == "image" or (modality == "video" and self.video == "frames"):
                yield from (_picture(values) for values in _pictures(clip, modality, num_frames))
            elif modality == "video":
                yield {"type": "video_url", "video_url": {"url": _data("video/mp4", _file(clip))}}
            elif modality == "audio":
                sound = {"data": b64encode(_sound(clip)).decode(), "format": "wav"}
                yield {"type": "input_audio", "input_audio": sound}
            else:
                raise ModalityError(
                    f"an endpoint takes image, video and audio, not {modality}; leave such questions out (--modality)"
                )


def _text(text: str) -> Part:
    return {"type": "text", "text": text}


def _picture(values: np.ndarray) -> Part:
    file = BytesIO()
    Image.fromarray(values).save(file, "JPEG", quality=95)
    return {"type": "image_url", "image_url": {"url": _data("image/jpeg", file.getvalue())}}


def _pictures(clip: Clip, modality: str, num_frames: int) -> np.ndarray:
    """(T, H, W, 3) uint8, evenly spaced over the clip's span, first and last included."""
    with open_source(clip[modality], modality) as source:
        times, _ = source.timeline()
        inside = np.flatnonzero((times >= (clip.start_seconds or 0.0)) & (times <= (clip.end_seconds or np.inf)))
        if not inside.size:
            raise ModalityError(
                f"the {modality} has no picture within its span {clip.start_seconds}..{clip.end_seconds} s"
            )
        places = np.linspace(0, inside.size - 1, min(num_frames, inside.size)).astype(int)
        return source.read_frames(inside[np.unique(places)]).values


def _sound(clip: Clip) -> bytes:
    with open_source(clip["audio"], "audio") as source:
        wave = source.read_waveform(SAMPLE_RATE, start_seconds=clip.start_seconds, end_seconds=clip.end_seconds)
    with TemporaryDirectory(prefix="vidweave-") as folder:
        return write_audio(Path(folder) / "sound.wav", wave).read_bytes()


def _file(clip: Clip) -> bytes:
    source = clip["video"]
    if not isinstance(source, (str, Path)) or clip.start_seconds or clip.end_seconds:
        raise QueryError("only a whole video file can be sent as a file; use video='frames' for arrays and spans")
    with open_source(source, "video"):  # checks that it is a video, and nothing else on this machine
        data = Path(source).read_bytes()
    if len(data) > MAX_FILE_BYTES:
        raise QueryError(f"{source} has {len(data)} bytes, at most {MAX_FILE_BYTES} are sent; use video='frames'")
    return data


def _data(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{b64encode(data).decode()}"
