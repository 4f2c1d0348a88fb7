"""Which precisions of a model fit on a graphics card: an estimate from the sizes of its slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vidweave.cli.amounts import format_bytes

__all__ = ["PRECISIONS", "fits_on", "fitting_lines"]

# Precision → bytes per parameter of the language model and of the other slots: only the language model is quantized
PRECISIONS: Mapping[str, tuple[float, float]] = {
    "float32": (4.0, 4.0),
    "bfloat16": (2.0, 2.0),
    "8 bits": (1.06, 2.0),
    "4 bits": (0.56, 2.0),
}
WORKING = 0.2  # activations, caches and the allocator's blocks, relative to the weights
RUNTIME = 0.7e9  # of CUDA itself


def fits_on(slots: Sequence[Mapping[str, Any]], card_bytes: int) -> list[dict[str, Any]]:
    """Estimate the memory that one question takes in each precision, and whether it fits on a card.

    Args:
        slots: `slot` and `parameters` of each slot.
    """
    language = sum(row["parameters"] for row in slots if row["slot"] == "language_model")
    others = sum(row["parameters"] for row in slots) - language
    rows = []
    for precision, (of_language, of_others) in PRECISIONS.items():
        needed = (language * of_language + others * of_others) * (1 + WORKING) + RUNTIME
        rows.append({"precision": precision, "needed_bytes": int(needed), "fits": needed <= card_bytes})
    return rows


def fitting_lines(rows: Sequence[Mapping[str, Any]], card_bytes: int) -> list[str]:
    """One line per precision, and what the figures hold."""
    lines = [
        f"{row['precision']}: about {format_bytes(row['needed_bytes'])} of {format_bytes(card_bytes)}, "
        f"{'fits' if row['fits'] else 'does not fit'}"
        for row in rows
    ]
    return [
        *lines,
        "estimated: weights (8 and 4 bits: of the language model alone), a fifth for working memory, 0.7 GB for CUDA",
    ]
