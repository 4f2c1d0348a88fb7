"""Convert media to chat message parts in OpenAI's format, for multimodal models behind an endpoint."""

# Axes: H height, W width

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from PIL import Image

from vidweave.errors import ModalityError, QueryError
from vidweave.media import open_clip, write_audio
from vidweave.types import Clip, Waveform

__all__ = ["Part", "VideoForm", "medium_parts", "frames_of", "audio_of", "text_part"]

Part = dict[str, Any]
VideoForm = Literal["frames", "file"]
"""Send a video as frames, which every server accepts, or whole as `video_url` (vLLM, Gemini)."""

SAMPLE_RATE = 16_000
MAX_FILE_BYTES = 20_000_000  # for a video sent whole; servers reject much larger requests


def text_part(text: str) -> Part:
    return {"type": "text", "text": text}


def medium_parts(clip: Clip, *, video: VideoForm = "frames", num_frames: int = 4) -> Iterator[Part]:
    """Convert a clip to message parts: one per frame, audio track or video file.

    Args:
        num_frames: Evenly spaced frames per video when it is sent as frames.

    Raises:
        ModalityError: a modality that endpoints do not accept (3D, for example).
        MediaError: a medium that cannot be read.
        QueryError: a video to be sent whole is not a file or too large.
    """
    for modality in clip:
        if modality == "image" or (modality == "video" and video == "frames"):
            yield from (_image_part(values) for values in frames_of(clip, modality, num_frames))
        elif modality == "video":
            yield {"type": "video_url", "video_url": {"url": _data("video/mp4", _file(clip))}}
        elif modality == "audio":
            audio = {"data": b64encode(_wav(audio_of(clip))).decode(), "format": "wav"}
            yield {"type": "input_audio", "input_audio": audio}
        else:
            raise ModalityError(
                f"endpoints accept image, video and audio, not {modality}; use a vidweave model for {modality}"
            )


def frames_of(clip: Clip, modality: str, num_frames: int) -> np.ndarray:
    """Return (T, H, W, 3) uint8 evenly spaced over the clip's span, first and last included; T <= `num_frames`."""
    with open_clip(clip, modality) as source:
        times, _ = source.timeline()
        inside = np.flatnonzero((times >= (clip.start_seconds or 0.0)) & (times <= (clip.end_seconds or np.inf)))
        if not inside.size:
            raise ModalityError(
                f"the {modality} has no frame within its span {clip.start_seconds}..{clip.end_seconds} s"
            )
        places = np.linspace(0, inside.size - 1, min(num_frames, inside.size)).astype(int)
        return source.read_frames(inside[np.unique(places)]).values


def audio_of(clip: Clip, sample_rate: int = SAMPLE_RATE) -> Waveform:
    """Return the audio of the clip's span, mono."""
    with open_clip(clip, "audio") as source:
        return source.read_waveform(sample_rate, start_seconds=clip.start_seconds, end_seconds=clip.end_seconds)


def _image_part(values: np.ndarray) -> Part:
    file = BytesIO()
    Image.fromarray(values).save(file, "JPEG", quality=95)
    return {"type": "image_url", "image_url": {"url": _data("image/jpeg", file.getvalue())}}


def _wav(wave: Waveform) -> bytes:
    with TemporaryDirectory(prefix="vidweave-") as folder:
        return write_audio(Path(folder) / "sound.wav", wave).read_bytes()


def _file(clip: Clip) -> bytes:
    source = clip["video"]
    if not isinstance(source, (str, Path)) or clip.start_seconds or clip.end_seconds:
        raise QueryError("only a whole video file can be sent as a file; use video='frames' for arrays and spans")
    with open_clip(clip, "video"):  # checks that the file is a video, so that no other file is ever sent
        data = Path(source).read_bytes()
    if len(data) > MAX_FILE_BYTES:
        raise QueryError(f"{source} has {len(data)} bytes but at most {MAX_FILE_BYTES} are sent; use video='frames'")
    return data


def _data(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{b64encode(data).decode()}"
