"""A bridge put in front of a model that has none: where training begins."""

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

TAKEN = ("encoders.vision.", "connector.", "language_model.")


def attach_bridge(
    base: VideoLanguageModel,
    config: VideoLanguageConfig,
    *,
    bert: Mapping[str, Tensor] | None = None,
    raft: Mapping[str, Tensor] | None = None,
) -> VideoLanguageModel:
    """The model of `config` with the tower, connector and language model of `base`, and a fresh bridge.

    Args:
        config: Of `preset.videotgb`, with the sizes of `base`.
        bert: State dict of bert-base-uncased: words, self-attention and feed-forwards of the bridge start from it.
        raft: Published state dict of RAFT, where the motion encoder estimates flow; without it that is random.

    Raises:
        CheckpointError: parts of `base` that do not fit `config`, or a BERT of other sizes.
    """
    spec = config.parse()
    state = {key: value for key, value in base.state_dict().items() if key.startswith(TAKEN)}
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
    """BERT's words, self-attention and feed-forwards under the bridge's names; positions, pooler and heads are left out.

    Raises:
        CheckpointError: no state dict of BERT.
    """
    plain = {key.removeprefix("bert."): value for key, value in state.items()}
    plain = {key.replace(".gamma", ".weight").replace(".beta", ".bias"): value for key, value in plain.items()}
    kept = re.compile(r"embeddings\.(word_embeddings|token_type_embeddings|LayerNorm)\..*|encoder\.layer\..*")
    found = {key: value for key, value in plain.items() if kept.fullmatch(key)}
    if "embeddings.word_embeddings.weight" not in found:
        raise CheckpointError(f"this is no state dict of BERT: no word_embeddings among {sorted(plain)[:3]}")
    return BRIDGE.to_ours(found)
