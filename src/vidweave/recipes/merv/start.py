"""Shared parts of MERV's recipes: the starting model, the data, and a stage of the paper as a training stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vidweave.language.chat import LLAMA2_BASE
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.conversations import ConversationLoss, collate_captions, collate_conversations, require_ends
from vidweave.model.load import load_model
from vidweave.model.processor import Processor
from vidweave.pipelines.slot import SlotPipeline
from vidweave.systems.merv.tiny import tiny_merv
from vidweave.systems.merv.training import TRAINABLE, StageName, StageSettings
from vidweave.tiny.scenes import train_scene
from vidweave.toyworld.captions import description
from vidweave.toyworld.questions import questions
from vidweave.toyworld.render import render
from vidweave.training.batches import default_workers
from vidweave.training.schedule import Schedule
from vidweave.training.stages import AdamWSettings, Pass, Stage
from vidweave.types import Clip, Conversation

__all__ = ["finish", "open_pipeline", "read_conversations", "stage"]


def open_pipeline(start: str, cache: str, seed: int) -> SlotPipeline:
    """Load the folder `start`, or build a tiny model with random weights; features are cached in the folder `cache`."""
    if start:
        model = load_model(start)
    else:
        torch.manual_seed(seed)
        config = tiny_merv()
        model = VideoLanguageModel(config)
        model.processor = Processor(config, load_model("tiny-base").processor.tokenizers)
    model.encoders.requires_grad_(False)  # no stage of the paper trains them, and features of frozen ones can be kept
    return SlotPipeline(model.eval(), cache_folder=cache or None)


def read_conversations(file: str, media: str) -> Sequence[Conversation]:
    """Read the conversations of a file, or without one generate some about the toy world."""
    if not file:
        return ToyConversations()
    from vidweave.data.instruct import read_instruct

    return read_instruct(file, media)


class ToyConversations(Sequence[Conversation]):
    """Conversations about scenes, with a description and a question each, and every eighth one text-only."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Conversation:  # type: ignore[override]
        if not 0 <= index < len(self):
            raise IndexError(index)
        scene = train_scene(index)
        item = questions(scene, question_types=["colour", "shape", "count"])[0]
        if index % 8 == 7:
            turn = ("How many colours has the toy world?", "six")
            return Conversation(turns=(turn,))
        turns = ((item.text, item.answer), ("Describe the clip.", description(scene)))
        return Conversation(turns=turns, clip=Clip(video=render(scene, "video")))


class _Captions(Sequence[Conversation]):
    """The last answer of each conversation about a clip, as a caption."""

    def __init__(self, conversations: Sequence[Conversation]) -> None:
        self._conversations = conversations
        self._about = [i for i in range(len(conversations)) if conversations[i].clip is not None]

    def __len__(self) -> int:
        return len(self._about)

    def __getitem__(self, index: int) -> Conversation:  # type: ignore[override]
        conversation = self._conversations[self._about[index]]
        return replace(conversation, turns=conversation.turns[-1:])


def stage(
    name: StageName,
    settings: StageSettings,
    pipe: SlotPipeline,
    data: Sequence[Conversation],
    workers: int | None = None,
) -> Stage:
    """Build a stage of the paper: captions for both kinds of align, conversations for finetune."""
    is_finetune, processor = name == "finetune", pipe.processor
    require_ends(pipe.model, processor.tokenizers["language"], LLAMA2_BASE if is_finetune else None)
    examples = data if is_finetune else _Captions(data)
    steps = settings.num_steps(len(examples))
    collate: Any = (
        partial(collate_conversations, processor, LLAMA2_BASE, max_tokens=settings.max_tokens, cache=pipe.cache)
        if is_finetune
        else partial(collate_captions, processor, max_tokens=settings.max_tokens, cache=pipe.cache)
    )
    return Stage(
        name=name,
        objective=ConversationLoss(),
        examples=examples,
        collate=collate,
        loader_workers=default_workers() if workers is None else workers,
        passes=(Pass(name, TRAINABLE[name]),),
        steps=steps,
        batch_size=settings.batch_size,
        accumulate=settings.accumulate,
        optimizer=AdamWSettings(lr=settings.lr, weight_decay=settings.weight_decay, clip_norm=settings.clip_norm),
        schedule=Schedule("warmup_cosine", warmup_steps=int(settings.warmup_ratio * steps)),
    )


def finish(pipe: SlotPipeline, model: VideoLanguageModel, out: Path) -> Mapping[str, Any]:
    """Write the whole model, ready for `vidweave.load`, and the features that are still in memory."""
    model.eval()
    pipe.save_pretrained(out / "model")
    pipe.close()
    return {"model": str(out / "model")}
