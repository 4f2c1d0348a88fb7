"""Any other vision-language model of transformers: frames as stills, each with its time as text before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor

from vidweave.errors import CheckpointError
from vidweave.pipelines.vlm.family import FamilyFiles, Footage, MediaBlock, VlmFamily

__all__ = ["GeneralFamily"]


class GeneralFamily(VlmFamily):
    """A model without an entry of its own, through its own processor, as long as that works without torchvision.

    Its processor prepares and counts each frame as a still; what such a model was trained to do with videos is not known
    here, and a note in the Trace says so.
    """

    model_class = ""
    times = "text"
    num_frames = 8
    reads_stills = True
    video_part = "image"
    defaults: ClassVar[Mapping[str, Any]] = {"size": {}}

    def __init__(self, files: FamilyFiles) -> None:
        super().__init__(files)
        kind = files.config.model_type
        try:
            self.processor: Any = AutoProcessor.from_pretrained(
                files.folder, trust_remote_code=False, local_files_only=True
            )
        except Exception as error:  # torchvision, a missing file, a class that is no processor
            raise CheckpointError(
                f"{files.folder} holds a {kind!r} model, which has no entry in vidweave, and its own processor cannot be "
                f"loaded here: {' '.join(str(error).split())[:200]}"
            ) from error
        token = getattr(self.processor, "image_token", None) or getattr(files.tokenizer, "image_token", None)
        if not hasattr(self.processor, "image_processor") or not token:
            raise CheckpointError(
                f"{files.folder} holds a {kind!r} model, which has no entry in vidweave, and whose processor reads no images"
            )
        self.image_mark = self.video_mark = str(token)

    def image(self, frame: np.ndarray, max_pixels: int | None = None) -> MediaBlock:
        out = self._read([frame])
        text = self._expanded(out)
        return MediaBlock(text, self._tensors(out), notes=(self._note(),))

    def video(self, footage: Footage, max_pixels: int | None = None) -> MediaBlock:
        outs = [self._read([frame]) for frame in footage.frames]
        text = "\n".join(f"{t:.1f} s: {self._expanded(out)}" for t, out in zip(footage.seconds, outs, strict=True))
        tensors = [self._tensors(out) for out in outs]
        joined = {name: self.join(name, [one[name] for one in tensors]) for name in tensors[0]}
        return MediaBlock(
            text, joined, seconds=tuple(round(float(t), 1) for t in footage.seconds), notes=(self._note(),)
        )

    def _read(self, frames: list[np.ndarray]) -> Mapping[str, Any]:
        pictures = [Image.fromarray(frame) for frame in frames]
        return self.processor(images=pictures, text=self.image_mark, return_tensors="pt")

    def _expanded(self, out: Mapping[str, Any]) -> str:
        """The text that the processor writes for one image."""
        tokenizer = self.files.tokenizer
        ids = out["input_ids"][0].tolist()
        around = set(tokenizer("", verbose=False)["input_ids"])
        return str(tokenizer.decode([i for i in ids if i not in around], skip_special_tokens=False))

    def _tensors(self, out: Mapping[str, Any]) -> dict[str, Tensor]:
        texts = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
        return {name: value for name, value in out.items() if name not in texts and isinstance(value, torch.Tensor)}

    def _note(self) -> str:
        return (
            f"vidweave has no entry for models of type {self.files.config.model_type!r}: their frames go in as stills, "
            "with times as text"
        )
