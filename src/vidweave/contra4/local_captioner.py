"""Captioners that run transformers models in this process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

import torch
from PIL import Image

from vidweave.contra4.captioners import prompt_for
from vidweave.contra4.content_parts import audio_of, frames_of
from vidweave.contra4.stage import Wrap
from vidweave.errors import CheckpointError, ModalityError
from vidweave.loading import check_device, check_dtype, quiet_loading, usable_device
from vidweave.nn.config_source import guard_source
from vidweave.types import Clip

__all__ = ["TransformersCaptioner"]


class TransformersCaptioner:
    """Caption images, videos or audio with any transformers model that generates text from them.

    If the processor has a chat template, all frames or the audio are sent with the prompt in one message. Otherwise
    (BLIP, GIT) the model gets the middle frame and continues `prompt` if there is one. Decoding is greedy with batch
    size one, so that a text never depends on other clips. The model is loaded on first use.

    Args:
        source: Folder or hub id; weights are read from safetensors only and no remote code is run.
        prompt: The prompt. None uses the published one if there is a chat template, and no prompt otherwise.
        revision: Revision of a hub id.
        num_frames: Evenly spaced frames per video.
        max_tokens: Maximum length of a caption.
        device, dtype: Device and dtype of the weights.
    """

    def __init__(
        self,
        source: str,
        *,
        prompt: str | None = None,
        revision: str | None = None,
        num_frames: int = 4,
        max_tokens: int = 120,
        device: str = "cpu",
        dtype: str = "float32",
    ) -> None:
        check_device(device)
        check_dtype(dtype)
        self._options = guard_source(source, revision)
        self.source, self.prompt, self.revision = source, prompt, revision
        self.num_frames, self.max_tokens, self.device, self.dtype = num_frames, max_tokens, device, dtype

    def caption(self, clips: Sequence[Clip]) -> list[str]:
        """Return one text per clip.

        Raises:
            CheckpointError: the model cannot be loaded.
            ModalityError: a clip that is neither image, video nor audio.
            MediaError: a medium that cannot be read.
        """
        return [self._one(clip) for clip in clips]

    def with_engines(self, wrap: Wrap) -> Self:
        return self

    def describe(self) -> dict[str, Any]:
        facts = {"captioner": "transformers", "model": self.source, "revision": self.revision, "dtype": self.dtype}
        return {**facts, "prompt": self.prompt, "num_frames": self.num_frames, "max_tokens": self.max_tokens}

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_parts"}  # workers load their own

    @cached_property
    def _parts(self) -> tuple[Any, Any]:
        """Processor and model."""
        from transformers import AutoModelForMultimodalLM, AutoProcessor

        options = self._options
        place = usable_device(self.device)
        try:
            processor = AutoProcessor.from_pretrained(self.source, **options)
            with quiet_loading():
                model = AutoModelForMultimodalLM.from_pretrained(
                    self.source, dtype=getattr(torch, self.dtype), use_safetensors=True, **options
                )
        except (OSError, ValueError) as error:
            raise CheckpointError(f"cannot load the captioner {self.source!r}: {error}") from error
        return processor, model.to(place).eval()

    @torch.inference_mode()
    def _one(self, clip: Clip) -> str:
        processor, model = self._parts
        inputs = self._inputs(processor, clip).to(self.device, getattr(torch, self.dtype))
        written = model.generate(**inputs, max_new_tokens=self.max_tokens, do_sample=False)[0]
        asked = inputs["input_ids"][0] if "input_ids" in inputs else written[:0]
        if torch.equal(written[: len(asked)], asked):  # most models repeat the prompt
            written = written[len(asked) :]
        return processor.decode(written, skip_special_tokens=True).strip()

    def _inputs(self, processor: Any, clip: Clip) -> Any:
        (modality,) = clip
        if modality == "audio":
            parts = [{"type": "audio", "audio": self._audio(processor, clip)}]
        elif modality in ("image", "video"):
            frames = [Image.fromarray(values) for values in frames_of(clip, modality, self.num_frames)]
            if not getattr(processor, "chat_template", None):
                asked = {"text": self.prompt} if self.prompt else {}
                return processor(images=frames[len(frames) // 2], return_tensors="pt", **asked)
            parts = [{"type": "image", "image": frame} for frame in frames]
        else:
            raise ModalityError(f"transformers captioners accept image, video and audio, not {modality}")
        content = [*parts, {"type": "text", "text": prompt_for(clip, self.prompt)}]
        return processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )

    def _audio(self, processor: Any, clip: Clip) -> Any:
        """Return (N,) samples at the model's sample rate."""
        reader = getattr(processor, "feature_extractor", None)
        if reader is None or not getattr(processor, "chat_template", None):
            raise ModalityError(f"{self.source!r} does not support audio; choose a captioner that does")
        return audio_of(clip, reader.sampling_rate).samples
