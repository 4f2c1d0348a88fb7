"""Mapping of the released grounding encoder (`temporal_encoder.*`) to our names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from vidweave.nn.keys import KeyTable

__all__ = ["BRIDGE", "bridge_from_released"]

BRIDGE = KeyTable(
    (
        ("embeddings.word_embeddings.", "words.word_embeddings."),
        ("embeddings.token_type_embeddings.", "words.token_type_embeddings."),
        ("embeddings.LayerNorm.", "words.norm."),
        ("temporal_embeddings.bos", "motion.begin"),
        ("temporal_embeddings.eos", "motion.end"),
        ("temporal_embeddings.projection.", "motion.projection."),
        ("temporal_embeddings.fc.weight", "motion.spatial"),
        ("temporal_embeddings.fc.bias", "motion.spatial_bias"),
        ("temporal_embeddings.frame_pos_embed.weight", "motion.positions"),
        ("temporal_embeddings.ln.", "motion.norm."),
        ("encoder.embed_positions.weight", "step_table"),
        ("encoder.c_embed_positions.weight", "word_table"),
        ("encoder.layer.{i}.attention.self.", "layers.{i}.attention.attention."),
        ("encoder.layer.{i}.attention.output.dense.", "layers.{i}.attention.output.dense."),
        ("encoder.layer.{i}.attention.output.LayerNorm.", "layers.{i}.attention.output.norm."),
        ("encoder.layer.{i}.crossattention.self.", "layers.{i}.cross.attention."),
        ("encoder.layer.{i}.crossattention.output.dense.", "layers.{i}.cross.output.dense."),
        ("encoder.layer.{i}.crossattention.output.LayerNorm.", "layers.{i}.cross.output.norm."),
        ("encoder.layer.{i}.intermediate.dense.", "layers.{i}.intermediate."),
        ("encoder.layer.{i}.output.dense.", "layers.{i}.output.dense."),
        ("encoder.layer.{i}.output.LayerNorm.", "layers.{i}.output.norm."),
        ("mrc_head.", "span_head."),
    ),
    # word positions are loaded and never added in the original; position ids are no weights
    dropped=(r"embeddings\.position_embeddings\.weight", r"temporal_embeddings\.position_ids"),
)


def bridge_from_released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename keys below `temporal_encoder.` to those of `Bridge` with stored tables, absolute positions and patch pooling."""
    ours = BRIDGE.to_ours(state)
    ours["motion.projection.weight"] = ours["motion.projection.weight"].flatten(1)
    ours["motion.spatial"] = ours["motion.spatial"].flatten()
    return ours
