"""MA-LMM as configurations of the four slots, its data sets' settings, and its memory for other models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.fusion import NoFusionConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.qformer import QFormerConfig
from vidweave.connectors.qformer_memory import MemoryConfig
from vidweave.encoders.eva_vit import CLIP_MEAN, CLIP_STD, EVA_VIT_G
from vidweave.encoders.vision_tower import VisionTowerConfig
from vidweave.errors import ConfigError, UnknownNameError
from vidweave.language.causal import CausalConfig
from vidweave.language.families import VICUNA_7B, VICUNA_13B
from vidweave.language.layout import AnswerFormat, OptionsFormat, Slot, Special, TemplateLayout, Text
from vidweave.model.config import ModelSpec, StreamConfig, VideoLanguageConfig
from vidweave.selectors.uniform import UniformSelectorConfig
from vidweave.types import FrameNeed, TextSpec, VisualSpec

__all__ = [
    "DATASETS",
    "Dataset",
    "malmm",
    "malmm_7b_m10",
    "malmm_7b_m20",
    "malmm_7b_m40",
    "malmm_13b_m10",
    "prompt_layout",
    "with_memory",
]

BeyondTimes = Literal["error", "clamp", "last"]
LANGUAGE_MODELS = {"vicuna-7b": VICUNA_7B, "vicuna-13b": VICUNA_13B}
MAX_FRAMES = 120  # rows of the table of time steps in the released files

_BEAMS = {"num_beams": 5, "repetition_penalty": 1.5, "min_new_tokens": 1}


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Settings of one data set (spec 3.1, 4.5 and 5); `published.json` has its training settings.

    Attributes:
        length: Entries per memory bank.
        num_frames: Frames per clip.
        prompt: Prompt of the Q-Former and the language model; {question} or {task}.
        decoding: Decoding of the language model.
        max_text_tokens: Maximum length of a question in the Q-Former, truncated on the left.
    """

    length: int
    num_frames: int
    prompt: str
    decoding: Mapping[str, Any] = field(default_factory=dict)
    max_text_tokens: int = 128


def _classes(prompt: str, max_new_tokens: int) -> Dataset:
    decoding = {**_BEAMS, "num_return_sequences": 5, "max_new_tokens": max_new_tokens}
    return Dataset(length=20, num_frames=100, prompt=prompt, decoding=decoding, max_text_tokens=30)


def _questions() -> Dataset:
    decoding = {**_BEAMS, "num_return_sequences": 5, "length_penalty": 0.0, "max_new_tokens": 10}
    return Dataset(length=10, num_frames=20, prompt="Question: {question} Short answer:", decoding=decoding)


def _captions(max_new_tokens: int, min_new_tokens: int = 1) -> Dataset:
    decoding = {**_BEAMS, "max_new_tokens": max_new_tokens, "min_new_tokens": min_new_tokens}
    return Dataset(length=40, num_frames=80, prompt="what does the video describe?", decoding=decoding)


DATASETS: dict[str, Dataset] = {
    "lvu": _classes("what is the {task} of the movie?", 5),
    "breakfast": _classes("what type of breakfast is shown in the video?", 20),
    "coin": _classes("what is the activity in the video?", 20),
    "msrvtt-qa": _questions(),
    "msvd-qa": _questions(),
    "activitynet-qa": _questions(),
    "msrvtt-caption": _captions(50),
    "msvd-caption": _captions(50),
    "youcook2-caption": _captions(30, 2),
    "demo": Dataset(
        length=10, num_frames=20, prompt="Question: {question} Answer:", decoding={**_BEAMS, "max_new_tokens": 256}
    ),
}


def malmm(
    dataset: str = "demo",
    *,
    language: Literal["vicuna-7b", "vicuna-13b"] = "vicuna-7b",
    length: int | None = None,
    num_frames: int | None = None,
    rounding: Literal["truncate", "wrap"] = "truncate",
    beyond_times: BeyondTimes = "error",
) -> VideoLanguageConfig:
    """Build the paper's model for one of its data sets.

    Args:
        length: Entries per memory bank instead of the data set's; 0 is the model without memory, which gives the
            tokens of every frame to the language model and has no table of time steps.
        num_frames: Number of frames instead of the data set's.
        rounding: `wrap` reproduces a defect of the original preprocessing, for parity with published numbers.
        beyond_times: Time embedding of frames beyond the table of time steps; `last` is for streams of any length.
    """
    if dataset not in DATASETS:
        raise UnknownNameError("data set of MA-LMM", dataset, DATASETS)
    settings = DATASETS[dataset]
    length = settings.length if length is None else length
    frames = num_frames or settings.num_frames
    if length and frames > MAX_FRAMES and beyond_times == "error":
        raise ConfigError(
            f"{frames} frames are more than the table of time steps has rows ({MAX_FRAMES}); use fewer, or another beyond_times"
        )
    pixels = VisualSpec(
        height=224, width=224, mean=CLIP_MEAN, std=CLIP_STD, antialias=False, rounding=rounding
    )  # aspect ratio not kept, bicubic
    need = FrameNeed(num_frames=frames, rule="linspace")
    text = LANGUAGE_MODELS[language]
    spec = ModelSpec(
        selector=UniformSelectorConfig(),
        encoders={"vision": VisionTowerConfig(config=EVA_VIT_G, specs={"video": pixels, "image": pixels})},
        streams={"video": StreamConfig(encoder="vision", modalities=("video", "image"), need=need)},
        connector=ConnectorConfig(
            trunks={
                "qformer": QFormerConfig(
                    vocab_size=30523,
                    text_spec=_text_spec(settings.max_text_tokens),
                    memory=MemoryConfig(length=length) if length else None,
                )
            },
            ports={
                "video": PortConfig(
                    trunk="qformer",
                    input_width=1408,
                    input_norm=True,
                    num_query_tokens=32,
                    **_times(MAX_FRAMES if length else 0, beyond_times, frames),
                )
            },
            fusion=NoFusionConfig(),
            output_width=text["hidden_size"],
        ),
        language_model=CausalConfig(config=text),
        layout=prompt_layout(),
        decoding=dict(settings.decoding),
    )
    return VideoLanguageConfig(spec, name=f"malmm-{language}-{dataset}")


def _times(rows: int, beyond_times: BeyondTimes, num_frames: int) -> dict[str, Any]:
    """Table of time steps of a port; in training only the row of the last frame is trained."""
    if not rows:
        return {"num_time_positions": 0}
    return {
        "num_time_positions": rows,
        "beyond_times": beyond_times,
        "last_time_position": min(num_frames, rows) - 1,
    }


def _text_spec(max_tokens: int) -> TextSpec:
    return TextSpec(tokenizer="qformer", max_tokens=max_tokens, truncation_side="left")


def prompt_layout() -> TemplateLayout:
    """Place the video's tokens, the begin token, the plain prompt, and the answer with the end token."""
    return TemplateLayout(
        parts=(Slot(block="video"), Special(token="bos", if_any=True), Text(text="{question}{options}")),
        options=OptionsFormat(prefix=" Options: ", item="({letter}) {option}", separator=" "),
        answer=AnswerFormat(max_tokens=256),
        on_overflow="truncate",
    )


def with_memory(
    config: VideoLanguageConfig,
    *,
    length: int = 10,
    num_frames: int = 20,
    num_time_positions: int = 0,
    beyond_times: BeyondTimes = "error",
    decoding: Mapping[str, Any] | None = None,
) -> VideoLanguageConfig:
    """Add the zero-shot memory to the Q-Formers of a model. No weight is added or changed.

    Args:
        config: Any model whose connector streams pass segment by segment through Q-Formers (BLIP-2, InstructBLIP, …).
        num_time_positions: Rows of the table of time steps that fine-tuning adds; it starts at zero.
        beyond_times: Time embedding of segments beyond that table (`PortConfig.beyond_times`).
        decoding: Replaces the model's; None uses that of the paper's demonstration.

    Raises:
        ConfigError: a stream whose trunk is no Q-Former, or has a memory already.
    """
    spec = config.parse()
    trunks = {name: _add_memory(name, trunk, length) for name, trunk in spec.connector.trunks.items()}
    times = _times(num_time_positions, beyond_times, num_frames)
    ports = {name: replace(port, **times) for name, port in spec.connector.ports.items()}
    streams = {
        name: replace(stream, need=replace(stream.need, num_frames=num_frames, rule="linspace"))
        if stream.role == "connector"
        else stream
        for name, stream in spec.streams.items()
    }
    spec = replace(
        spec,
        connector=replace(spec.connector, trunks=trunks, ports=ports),
        streams=streams,
        decoding=dict(DATASETS["demo"].decoding if decoding is None else decoding),
    )
    return VideoLanguageConfig(spec, name=f"{config.name}-memory-{length}")


def _add_memory(name: str, trunk: Any, length: int) -> QFormerConfig:
    if not isinstance(trunk, QFormerConfig):
        raise ConfigError(f"trunk {name!r} is of kind {trunk.kind!r}; a memory can be added to a Q-Former only")
    if trunk.memory is not None:
        raise ConfigError(f"trunk {name!r} has a memory of {trunk.memory.length} already")
    return replace(trunk, memory=MemoryConfig(length=length))


def malmm_7b_m10() -> VideoLanguageConfig:
    """Build the model with Vicuna-7B and M = 10, for question answering and the demonstration."""
    return malmm("demo")


def malmm_7b_m20() -> VideoLanguageConfig:
    """Build the model with Vicuna-7B and M = 20, for classification of long videos."""
    return malmm("coin")


def malmm_7b_m40() -> VideoLanguageConfig:
    """Build the model with Vicuna-7B and M = 40, for captions."""
    return malmm("msrvtt-caption")


def malmm_13b_m10() -> VideoLanguageConfig:
    """Build the model with Vicuna-13B and M = 10."""
    return malmm("demo", language="vicuna-13b")
