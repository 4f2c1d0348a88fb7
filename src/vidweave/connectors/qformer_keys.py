"""Q-Former weights in other layouts: key tables, both directions."""

from __future__ import annotations

from typing import Literal

from vidweave.nn.keys import KeyTable

__all__ = ["TRANSFORMERS_BLIP2", "TRANSFORMERS_INSTRUCTBLIP", "connector_keys"]

# transformers' Blip2QFormerModel: the norm of the queries stands at the top
TRANSFORMERS_BLIP2 = KeyTable((("layernorm.", "embeddings.layernorm."), ("encoder.layer.{i}.", "encoder.layer.{i}.")))

# transformers' InstructBlipQFormerModel: our own names
TRANSFORMERS_INSTRUCTBLIP = KeyTable(
    (("embeddings.", "embeddings."), ("encoder.layer.{i}.", "encoder.layer.{i}.")),
    dropped=(r"embeddings\.position_ids",),
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
