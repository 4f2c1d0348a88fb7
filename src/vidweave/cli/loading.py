"""Load the model of a command, with progress."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidweave.cli.progress import show_elapsed

if TYPE_CHECKING:
    from vidweave.pipelines.slot import SlotPipeline
    from vidweave.pipelines.vlm.pipeline import VlmPipeline

__all__ = ["load_pipeline"]


def load_pipeline(name: str, **options: Any) -> SlotPipeline | VlmPipeline:
    """Load the pipeline `name` as `vidweave.load` does, and show the elapsed time if loading is slow.

    Hub ids show the progress of their downloads instead.
    """
    import vidweave  # the call imports torch and transformers: part of the wait

    if "/" in name and not Path(name).exists():
        return vidweave.load(name, **options)
    with show_elapsed(f"loading {name}"):
        return vidweave.load(name, **options)
