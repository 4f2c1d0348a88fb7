"""Combination of parts from different papers: a grounding bridge selects frames by motion, two vision encoders encode them, a
Q-Former with memory reads them frame by frame together with the audio, which has its own adapter, a mixer fuses the encoders,
and a causal language model answers.

    vidweave train combination --out runs/combination

Random weights and the toy world: it shows that the slots compose, in training, in inference and in a saved folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.mixer import MixerConfig
from vidweave.connectors.modality_adapters import AdapterConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.qformer import QFormerConfig
from vidweave.connectors.qformer_memory import MemoryConfig
from vidweave.encoders.motion import MotionEncoderConfig
from vidweave.encoders.patch import PatchEncoderConfig
from vidweave.encoders.tiny import PIXELS
from vidweave.language.layout import AnswerFormat, Slot, Special, TemplateLayout, Text
from vidweave.language.tiny import VOCAB_SIZE, llama_config
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import ModelSpec, StreamConfig, VideoLanguageConfig
from vidweave.model.processor import Processor
from vidweave.pipelines.slot import SlotPipeline
from vidweave.selectors.grounding import GroundingSelectorConfig
from vidweave.tiny.scenes import train_scene
from vidweave.toyworld.questions import questions
from vidweave.toyworld.render import render
from vidweave.training.objectives import AnswerLoss
from vidweave.training.stages import AdamWSettings, Pass, Run, Stage
from vidweave.types import AudioSpec, Clip, FrameNeed, MotionSpec, Query, TextSpec

__all__ = ["Settings", "clip_and_question", "combination", "recipe"]

WIDTH, QUERIES, MOTION_SIDE = 32, 4, 12


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the recipe."""

    seed: int = 0
    steps: int = 20
    batch_size: int = 4
    num_frames: int = 4
    memory: int = 2


def combination(num_frames: int = 4, memory: int = 2) -> VideoLanguageConfig:
    """Build the whole model; `memory` entries per bank, fewer than the frames, so that some are merged."""
    motion = MotionSpec(source="frame_differences", fps=8, height=MOTION_SIDE, width=MOTION_SIDE)
    audio = AudioSpec(sample_rate=16_000, window_seconds=1.0, mel_bins=8, frame_seconds=1 / 32, hop_seconds=1 / 32)
    vision = partial(PatchEncoderConfig, size=48, layers=1, heads=2, specs={"video": PIXELS})
    motion_encoder = MotionEncoderConfig(height=MOTION_SIDE, width=MOTION_SIDE, patch=4, specs={"video": motion})
    port = PortConfig(trunk="qformer", input_width=24, input_proj=WIDTH, num_query_tokens=QUERIES)
    spec = ModelSpec(
        selector=GroundingSelectorConfig(
            hidden=24,
            layers=2,
            fusion_layer=1,
            heads=2,
            intermediate=32,
            vocab_size=VOCAB_SIZE,
            motion_width=motion_encoder.motion_width,
            num_patches=motion_encoder.num_patches,
            text_spec=TextSpec(tokenizer="language", max_tokens=32),
        ),
        encoders={
            "motion": motion_encoder,
            "coarse": vision(patch=16, width=24),
            "fine": vision(patch=12, width=24),
            "sound": PatchEncoderConfig(
                size=(32, 8), patch=8, width=24, layers=1, heads=2, channels=1, specs={"audio": audio}
            ),
        },
        streams={
            "motion": StreamConfig(encoder="motion", modalities=("video",), role="selector"),
            "coarse": StreamConfig(encoder="coarse", modalities=("video",), need=FrameNeed(num_frames=num_frames)),
            "fine": StreamConfig(encoder="fine", modalities=("video",), need=FrameNeed(num_frames=num_frames)),
            "sound": StreamConfig(encoder="sound", modalities=("audio",), need=FrameNeed(follow_selection=False)),
        },
        connector=ConnectorConfig(
            trunks={
                "qformer": QFormerConfig(
                    hidden=WIDTH,
                    layers=2,
                    heads=2,
                    intermediate=2 * WIDTH,
                    encoder_width=WIDTH,
                    memory=MemoryConfig(length=memory),
                )
            },
            ports={
                "coarse": port,
                "fine": port,
                "sound": replace(port, adapter=AdapterConfig(rank=2, alpha=2.0), absent="skip"),
            },
            fusion=MixerConfig(name="video", streams=("coarse", "fine"), query_width=16),
            output_width=128,
        ),
        language_model=llama_config(),
        layout=TemplateLayout(
            parts=(
                Special(token="bos"),
                Slot(block="video"),
                Slot(block="sound", optional=True),
                Text(text=" {question}"),
            ),
            answer=AnswerFormat(prefix=" "),
        ),
    )
    return VideoLanguageConfig(spec, name="combination")


def recipe(**overrides: Any) -> Run:
    """Build the run; `overrides` are fields of Settings."""
    s = Settings(**overrides)
    config = combination(s.num_frames, s.memory)
    model = VideoLanguageModel(config)
    model.processor = Processor(config, SlotPipeline.load("tiny-base").processor.tokenizers)
    stage = Stage(
        name="answers",
        objective=AnswerLoss(),
        examples=range(1_000),
        collate=partial(_collate, model),  # in this process: selecting takes the bridge's weights
        steps=s.steps,
        batch_size=s.batch_size,
        passes=(Pass("connector and language model", ("connector.*", "language_model.*")),),
        optimizer=AdamWSettings(lr=1e-3),
    )
    return Run(name="combination", model=model, stages=[stage], seed=s.seed, finish=_finish, config=asdict(s))


def clip_and_question(index: int) -> tuple[Query, str]:
    """Draw a toy clip with video and audio, and a question about it with its answer."""
    scene = train_scene(index)
    item = questions(scene, question_types=["beeps", "count"])[0]
    clip = Clip(video=render(scene, "video"), audio=render(scene, "audio"))
    return Query.about(clip, item.text), item.answer


def _collate(model: VideoLanguageModel, indices: Sequence[int]) -> Any:
    pairs = [clip_and_question(index) for index in indices]
    queries, answers = [query for query, _ in pairs], [answer for _, answer in pairs]
    return model.processor(queries, targets=answers, select=model.select)


def _finish(model: VideoLanguageModel, out: Path) -> Mapping[str, Any]:
    model.eval().save_pretrained(out / "model")
    return {"model": str(out / "model")}
