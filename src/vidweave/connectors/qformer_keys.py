"""Q-Former weights in other layouts: key tables, both directions."""

from __future__ import annotations

from typing import Literal

from vidweave.nn.keys import KeyTable

__all__ = ["LAVIS", "TRANSFORMERS_BLIP2", "TRANSFORMERS_INSTRUCTBLIP", "connector_keys", "lavis_connector_keys"]

# transformers' Blip2QFormerModel: the norm of the queries is at the top level
TRANSFORMERS_BLIP2 = KeyTable((("layernorm.", "embeddings.layernorm."), ("encoder.layer.{i}.", "encoder.layer.{i}.")))

# transformers' InstructBlipQFormerModel: our own names
TRANSFORMERS_INSTRUCTBLIP = KeyTable(
    (("embeddings.", "embeddings."), ("encoder.layer.{i}.", "encoder.layer.{i}.")),
    dropped=(r"embeddings\.position_ids",),
)

# LAVIS' Qformer (`Qformer.` in its files); we have no word head, which only pretraining uses
LAVIS = KeyTable(
    (
        ("bert.embeddings.LayerNorm.", "embeddings.layernorm."),
        ("bert.embeddings.word_embeddings.", "embeddings.word_embeddings."),
        ("bert.embeddings.position_embeddings.", "embeddings.position_embeddings."),
        ("bert.encoder.layer.{i}.attention.self.", "encoder.layer.{i}.attention.attention."),
        ("bert.encoder.layer.{i}.crossattention.self.", "encoder.layer.{i}.crossattention.attention."),
        ("bert.encoder.layer.{i}.", "encoder.layer.{i}."),
    ),
    dropped=(r"bert\.embeddings\.position_ids", r"cls\..*"),
)

_FORMS = {"blip2": TRANSFORMERS_BLIP2, "instructblip": TRANSFORMERS_INSTRUCTBLIP}


def connector_keys(form: Literal["blip2", "instructblip"], *, trunk: str = "qformer", port: str = "video") -> KeyTable:
    """Connector part of transformers' Blip2ForConditionalGeneration / InstructBlipForConditionalGeneration.

    Covers `qformer.*`, `query_tokens`, `language_projection.*` and `vision_model.post_layernorm.*`, which is the
    port's input norm; ours are relative to the connector.
    """
    qformer = _FORMS[form]
    return KeyTable(
        (
            *((f"qformer.{theirs}", f"trunks.{trunk}.{ours}") for theirs, ours in qformer.pairs),
            ("query_tokens", f"ports.{port}.query_tokens"),
            ("language_projection.", f"ports.{port}.output_proj."),
            ("vision_model.post_layernorm.", f"ports.{port}.input_norm."),
        ),
        dropped=tuple(rf"qformer\.{pattern}" for pattern in qformer.dropped),
    )


def lavis_connector_keys(*, projection: str = "llm_proj", trunk: str = "qformer", port: str = "video") -> KeyTable:
    """Connector part of LAVIS' BLIP-2 and InstructBLIP files and of those that grew from them.

    Covers `Qformer.*`, `query_tokens`, `ln_vision.*`, the projection (`llm_proj`, with Flan-T5 `t5_proj`) and
    `image_pe.weight`, MA-LMM's time embeddings.
    """
    return KeyTable(
        (
            *((f"Qformer.{theirs}", f"trunks.{trunk}.{ours}") for theirs, ours in LAVIS.pairs),
            ("query_tokens", f"ports.{port}.query_tokens"),
            ("image_pe.weight", f"ports.{port}.time_embedding"),
            (f"{projection}.", f"ports.{port}.output_proj."),
            ("ln_vision.", f"ports.{port}.input_norm."),
        ),
        dropped=tuple(rf"Qformer\.{pattern}" for pattern in LAVIS.dropped),
    )
