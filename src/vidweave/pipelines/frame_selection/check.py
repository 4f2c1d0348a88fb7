"""Check the name of a frame selector before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path

from vidweave.errors import ConfigError
from vidweave.registry import FRAME_SELECTORS

__all__ = ["check_frame_selector"]


def check_frame_selector(given: str, model: str | Path | None = None) -> tuple[str, str | None]:
    """Name and model of a selector that is given as text, checked without importing torch; raises as
    `names.frame_selector`."""
    name, source = _split(given)
    entry = FRAME_SELECTORS.entry(name)
    if source is not None and model is not None:
        raise ConfigError(f"the selector's model is given twice, as {source!r} and as {str(model)!r}; give one")
    source = source if model is None else str(model)
    if entry.facts.needs_model and not source:
        raise ConfigError(
            f"the selector {name!r} needs the folder or hub id of a dual encoder (CLIP, SigLIP), e.g. "
            f"{name}:google/siglip2-base-patch16-224"
        )
    if source and not entry.facts.needs_model:
        raise ConfigError(f"the selector {name!r} takes no model, got {source!r}; leave it out")
    return name, source


def _split(given: str) -> tuple[str, str | None]:
    """`NAME` or `NAME:MODEL` → name and model."""
    name, colon, source = given.partition(":")
    return name, source if colon else None
