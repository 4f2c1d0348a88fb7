"""SmolVLM: each frame a square image with its minute and second before it, after a sentence with count and duration."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

import torch

from vidweave.errors import CheckpointError
from vidweave.pipelines.vlm.family import FamilyFiles, Footage, MediaBlock, VlmFamily
from vidweave.pipelines.vlm.pixels import normalize, resize, to_channels_first

__all__ = ["SmolVLM", "number_in_words"]

LARGEST_SIDE = 4096
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


class SmolVLM(VlmFamily):
    """SmolVLM and SmolVLM2; times are whole seconds, written as MM:SS."""

    model_class = "SmolVLMForConditionalGeneration"
    times = "text"
    defaults: ClassVar[Mapping[str, Any]] = {
        "size": {"longest_edge": 4 * 364},
        "max_image_size": {"longest_edge": 364},
        "resample": 1,
        "image_mean": (0.5, 0.5, 0.5),
        "image_std": (0.5, 0.5, 0.5),
    }
    template = (
        "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}: {% for part in message['content'] %}"
        "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}<{{ part['type'] }}>{% endif %}{% endfor %}"
        "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
    )

    def __init__(self, files: FamilyFiles) -> None:
        super().__init__(files)
        self.video_mark = self.special("video_token", self.video_mark)
        self.pad = self.special("image_token", "<image>")
        self.fake = self.special("fake_image_token", "<fake_token_around_image>")
        self.image_mark = self.pad
        self.whole = self.special("global_image_token", "<global-img>")
        vision = files.config.vision_config
        self.tokens = (vision.image_size // vision.patch_size) ** 2 // files.config.scale_factor**2
        sampling = files.video.get("video_sampling")
        if isinstance(sampling, Mapping) and isinstance(sampling.get("video_size"), Mapping):
            self.longest = int(sampling["video_size"].get("longest_edge", self.pixels.size.get("longest_edge", 0)))
        else:
            self.longest = self.pixels.size.get("longest_edge", 0)

    def video(self, footage: Footage, max_pixels: int | None = None) -> MediaBlock:
        largest = self.pixels.more.get("max_image_size")
        side = largest.get("longest_edge") if isinstance(largest, Mapping) else None
        if not isinstance(side, int):
            raise CheckpointError(f"{self.files.folder} has preprocessing settings without max_image_size")
        frames = to_channels_first(footage.frames)
        if self.longest:  # resized twice, as the frames of its training were
            frames = resize(
                frames, *_longest_side(frames.shape[2], frames.shape[3], self.longest), self.pixels.resample
            )
        values = normalize(resize(frames, side, side, self.pixels.resample), self.pixels)
        times = [(int(t // 60), int(t % 60)) for t in footage.seconds]
        picture = self.fake + self.whole + self.pad * self.tokens + self.fake
        shown = "".join(f"\nFrame from {minutes:02d}:{seconds:02d}:{picture}" for minutes, seconds in times)
        duration = timedelta(seconds=int(footage.duration_seconds))
        count = number_in_words(len(values))
        opening = f"You are provided the following series of {count} frames from a {duration} [H:MM:SS] video.\n"
        return MediaBlock(
            opening + shown + "\n\n",
            {"pixel_values": values[None], "pixel_attention_mask": torch.ones(1, len(values), side, side).long()},
            seconds=tuple(float(60 * minutes + seconds) for minutes, seconds in times),
            height=side,
            width=side,
        )


def _longest_side(height: int, width: int, longest: int) -> tuple[int, int]:
    """Height and width with the longer one at `longest`; the other is made even."""
    longest = min(LARGEST_SIDE, longest)
    if width >= height:
        other = int(longest / (width / height))
        return max(1, other + other % 2), longest
    other = int(longest * (width / height))
    return longest, max(1, other + other % 2)


def number_in_words(number: int) -> str:
    """0 to 999,999 in English words, e.g. "one hundred and twenty-one"."""
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        return f"{_ONES[hundreds]} hundred" + (f" and {number_in_words(rest)}" if rest else "")
    thousands, rest = divmod(number, 1000)
    joint = " and " if 0 < rest < 100 else ", "
    return f"{number_in_words(thousands)} thousand" + (joint + number_in_words(rest) if rest else "")
