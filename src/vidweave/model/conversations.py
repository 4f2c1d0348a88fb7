"""Conversations → training inputs of a model: clips through its processor and a cache, texts as whole conversations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from vidweave.errors import ConfigError, QueryError
from vidweave.language.chat import ChatFormat
from vidweave.language.conversation import plan_captions, plan_conversations
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.cache import FeatureCache
from vidweave.model.processor import Processor
from vidweave.types import Conversation, MeanOver, ModelInputs, PromptPlan, Query

__all__ = ["ConversationLoss", "collate_captions", "collate_conversations", "require_ends"]


def collate_conversations(
    processor: Processor,
    chat: ChatFormat,
    conversations: Sequence[Conversation],
    *,
    max_tokens: int = 2048,
    cache: FeatureCache | None = None,
) -> ModelInputs:
    """A batch in which every answer is trained; conversations without a clip cost no encoder anything.

    Args:
        cache: Look-up of known features; new ones are stored when they are encoded.

    Raises:
        ConfigError: a model with another number of blocks than one, whose place a conversation does not say.
        QueryError: a model whose selector needs its weights to select.
    """
    block, tokenizer = _block(processor), processor.tokenizers["language"]
    blocks = [None if conversation.clip is None else block for conversation in conversations]
    plan = plan_conversations(
        [[m for turn in conversation.turns for m in turn] for conversation in conversations],
        tokenizer,
        chat,
        blocks,
        max_tokens=max_tokens,
    )
    return _inputs(processor, conversations, plan, cache)


def collate_captions(
    processor: Processor,
    conversations: Sequence[Conversation],
    *,
    max_tokens: int = 2048,
    cache: FeatureCache | None = None,
) -> ModelInputs:
    """A batch of clips with their captions, the answer of each conversation; questions are left out.

    Args:
        cache: Look-up of known features; new ones are stored when they are encoded.

    Raises:
        QueryError: a conversation of several answers, or about nothing; or a model whose selector needs its weights to
            select.
    """
    odd = next(
        (conversation for conversation in conversations if len(conversation.turns) != 1 or conversation.clip is None),
        None,
    )
    if odd is not None:
        raise QueryError(f"a caption is one answer about one clip, got {len(odd.turns)} answers and clip {odd.clip!r}")
    tokenizer, captions = processor.tokenizers["language"], [conversation.turns[0][1] for conversation in conversations]
    plan = plan_captions(captions, tokenizer, [_block(processor)] * len(conversations), max_tokens=max_tokens)
    return _inputs(processor, conversations, plan, cache)


def require_ends(model: VideoLanguageModel, tokenizer: Any, chat: ChatFormat | None = None) -> None:
    """Raise ConfigError unless `model` stops at the token that ends an answer of `chat`, or (None) a caption."""
    if chat is None:
        model.language_model.require_end(tokenizer.eos_token_id, "the tokenizer")
    else:
        model.language_model.require_end(_end_token(chat, tokenizer), "the chat format")


def _end_token(chat: ChatFormat, tokenizer: Any) -> int | None:
    """Id of the token that ends an answer of `chat` with this tokenizer; None if it is several tokens."""
    ids = tokenizer(chat.spelled_for(tokenizer).end, add_special_tokens=False, verbose=False)["input_ids"]
    return ids[0] if len(ids) == 1 else None


def _block(processor: Processor) -> str:
    connector = processor.spec.connector
    names = list(connector.fusion.block_counts(dict.fromkeys(connector.ports, 1)))
    if len(names) != 1:
        raise ConfigError(f"conversations need exactly one token block, this model has {', '.join(names)}")
    return names[0]


def _inputs(
    processor: Processor, conversations: Sequence[Conversation], plan: PromptPlan, cache: FeatureCache | None
) -> ModelInputs:
    """The clips' streams under the numbers of the whole batch."""
    about = [number for number, conversation in enumerate(conversations) if conversation.clip is not None]
    if not about:
        return ModelInputs(streams={}, text={}, plan=plan, num_items=len(conversations), pairs=())
    queries = [Query.about(conversations[n].clip, "?") for n in about]  # type: ignore[arg-type]
    made = processor(queries, cache=cache)
    numbers = torch.tensor(about)
    streams = {
        name: replace(
            stream,
            item=numbers[stream.item],
            features=None if stream.features is None else replace(stream.features, item=numbers[stream.features.item]),
        )
        for name, stream in made.streams.items()
    }
    return replace(
        made,
        streams=streams,
        plan=plan,
        num_items=len(conversations),
        pairs=tuple((about[i], s) for i, s in made.pairs),
    )


class ConversationLoss:
    """The loss of a batch of conversations, a mean over tokens; one without any clip uses the language model alone."""

    def means(self, batch: ModelInputs) -> dict[str, MeanOver]:
        """Terms of the loss, see `vidweave.types.Objective`."""
        return {"loss": MeanOver(batch.num_target_tokens)}

    def __call__(self, model: VideoLanguageModel, batch: ModelInputs) -> dict[str, torch.Tensor]:
        if batch.streams:
            loss = model(batch).loss
            assert loss is not None
            return {"loss": loss}
        return {"loss": model.language_model.loss(model.read(batch.plan, {}))}
