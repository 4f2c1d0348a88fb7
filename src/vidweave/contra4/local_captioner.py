"""Captioners of transformers in this process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

import torch
from PIL import Image

from vidweave.contra4.captioners import prompt_for
from vidweave.contra4.content_parts import pictures_of, sound_of
from vidweave.contra4.stage import Wrap
from vidweave.errors import CheckpointError, ModalityError
from vidweave.loading import check_device, check_dtype, quiet_loading, usable_device
from vidweave.nn.config_source import guard_source
from vidweave.types import Clip

__all__ = ["TransformersCaptioner"]


class TransformersCaptioner:
    """Says what pictures, videos or sounds show, with any model of transformers that writes about them.

    A model whose processor has a chat template is shown all pictures, or the sound, and the prompt in one message; one
    without (BLIP, GIT) is shown the middle picture, and continues `prompt` if there is one. Greedy and one by one, so
    that a text never depends on its neighbours. Loaded when it is first needed.

    Args:
        source: Folder or hub id; read from safetensors only, and no code comes with it.
        prompt: What is asked. None asks as published where there is a chat template, and nothing where there is none.
        revision: Of a hub id.
        num_frames: Of a video, evenly spaced.
        max_tokens: Of a caption.
        device, dtype: Where and how the weights lie.
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
        self._how = guard_source(source, revision)
        self.source, self.prompt, self.revision = source, prompt, revision
        self.num_frames, self.max_tokens, self.device, self.dtype = num_frames, max_tokens, device, dtype

    def caption(self, clips: Sequence[Clip]) -> list[str]:
        """One text per clip.

        Raises:
            CheckpointError: the model cannot be loaded.
            ModalityError: a clip that is neither image, video nor sound.
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

        how = self._how
        place = usable_device(self.device)
        try:
            processor = AutoProcessor.from_pretrained(self.source, **how)
            with quiet_loading():
                model = AutoModelForMultimodalLM.from_pretrained(
                    self.source, dtype=getattr(torch, self.dtype), use_safetensors=True, **how
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
        if torch.equal(written[: len(asked)], asked):  # most models repeat what they were asked
            written = written[len(asked) :]
        return processor.decode(written, skip_special_tokens=True).strip()

    def _inputs(self, processor: Any, clip: Clip) -> Any:
        (modality,) = clip
        if modality == "audio":
            parts = [{"type": "audio", "audio": self._sound(processor, clip)}]
        elif modality in ("image", "video"):
            pictures = [Image.fromarray(values) for values in pictures_of(clip, modality, self.num_frames)]
            if not getattr(processor, "chat_template", None):
                asked = {"text": self.prompt} if self.prompt else {}
                return processor(images=pictures[len(pictures) // 2], return_tensors="pt", **asked)
            parts = [{"type": "image", "image": picture} for picture in pictures]
        else:
            raise ModalityError(f"captioners of transformers take image, video and audio, not {modality}")
        content = [*parts, {"type": "text", "text": prompt_for(clip, self.prompt)}]
        return processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )

    def _sound(self, processor: Any, clip: Clip) -> Any:
        """(N,) samples at the rate that the model listens at."""
        reader = getattr(processor, "feature_extractor", None)
        if reader is None or not getattr(processor, "chat_template", None):
            raise ModalityError(f"{self.source!r} hears no sound; choose a captioner that does")
        return sound_of(clip, reader.sampling_rate).samples
