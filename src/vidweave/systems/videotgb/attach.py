"""Attachment of an untrained bridge to a base model, the start of training."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from vidweave.errors import CheckpointError
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import VideoLanguageConfig
from vidweave.model.processor import Processor
from vidweave.nn.raft import raft_from_published
from vidweave.systems.videotgb.bridge_keys import BRIDGE

__all__ = ["attach_bridge", "words_from_bert"]

KEPT = ("encoders.vision.", "connector.", "language_model.")


def attach_bridge(
    base: VideoLanguageModel,
    config: VideoLanguageConfig,
    *,
    bert: Mapping[str, Tensor] | None = None,
    raft: Mapping[str, Tensor] | None = None,
) -> VideoLanguageModel:
    """Build the model of `config` with the tower, connector and language model of `base`, and an untrained bridge.

    Args:
        config: A configuration of `preset.videotgb`, with the sizes of `base`.
        bert: State dict of bert-base-uncased: initializes words, self-attention and feed-forwards of the bridge.
        raft: Published state dict of RAFT, if the motion encoder estimates flow; default is a random initialization.

    Raises:
        CheckpointError: parts of `base` that do not match `config`, or a BERT of other sizes.
    """
    spec = config.parse()
    state = {key: value for key, value in base.state_dict().items() if key.startswith(KEPT)}
    fresh = {"selector.": spec.selector.build(), "encoders.motion.": spec.encoders["motion"].build()}
    for root, module in fresh.items():
        state |= {f"{root}{key}": value for key, value in module.state_dict().items()}
    if bert is not None:
        state |= {f"selector.bridge.{key}": value for key, value in words_from_bert(bert).items()}
    if raft is not None:
        state |= {f"encoders.motion.raft.{key}": value for key, value in raft_from_published(raft).items()}
    model = VideoLanguageModel.from_state(config, state, what="the base and its bridge", dtype=base.dtype)
    if base._processor is not None:
        tokenizers = base.processor.tokenizers
        missing = {text.tokenizer for text in spec.text.values()} - set(tokenizers)
        if not missing:
            model.processor = Processor(config, tokenizers, limits=base.processor.limits)
    return model


def words_from_bert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename BERT's words, self-attention and feed-forwards to the bridge's keys; positions, pooler and heads are dropped.

    Raises:
        CheckpointError: no state dict of BERT.
    """
    plain = {key.removeprefix("bert."): value for key, value in state.items()}
    plain = {key.replace(".gamma", ".weight").replace(".beta", ".bias"): value for key, value in plain.items()}
    kept = re.compile(r"embeddings\.(word_embeddings|token_type_embeddings|LayerNorm)\..*|encoder\.layer\..*")
    selected = {key: value for key, value in plain.items() if kept.fullmatch(key)}
    if "embeddings.word_embeddings.weight" not in selected:
        raise CheckpointError(f"this is no state dict of BERT: no word_embeddings among {sorted(plain)[:3]}")
    return BRIDGE.to_ours(selected)
