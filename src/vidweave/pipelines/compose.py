"""`vidweave.compose`: a model from pretrained parts, ready to be asked and trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vidweave.loading import check_dtype, quiet_loading, usable_device
from vidweave.model.compose.build import compose_model
from vidweave.model.compose.settings import Choices, Composition, ConnectorKind
from vidweave.pipelines.frame_selection.check import check_frame_selector
from vidweave.pipelines.frame_selection.names import names_frame_selector
from vidweave.pipelines.slot import SlotPipeline

__all__ = ["compose"]


def compose(
    encoders: str | Path | Sequence[str | Path],
    language_model: str | Path,
    connector: ConnectorKind = "mlp",
    *,
    num_frames: int = 8,
    tokens_per_frame: int | None = 16,
    selector: Any = "uniform",
    memory: int | None = None,
    qformer: str | Path | None = None,
    adapter_rank: int = 0,
    choices: Choices = "letters",
    layer: int = -1,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
) -> SlotPipeline:
    """Compose a model from pretrained encoders and a language model of transformers, with a new connector between them.

    Weights, tokenizer, chat template, end tokens and preprocessing come from the parts' own files; widths, patch grids and
    token counts are read off the parts. The connector starts silent: before it is trained, the model answers as its
    language model alone does. Encoders and language model are frozen, the connector is trainable.

    Example::

        pipe = vidweave.compose(["google/siglip2-base-patch16-224"], "HuggingFaceTB/SmolLM2-135M-Instruct", "qformer")
        pipe.save_pretrained("my-model")                    # everything
        pipe.save_pretrained("my-model", bases=pipe.bases)  # the connector, and the parts by name and hash

    Args:
        encoders: Folders or hub ids of vision or audio towers; several stand side by side, or are mixed (`mixer`).
        language_model: Folder or hub id of a causal or sequence-to-sequence language model.
        connector: `mlp`: two layers, as in LLaVA. `qformer`: as in BLIP-2, shared by all encoders. `resampler`: queries
            that attend once. `mixer`: the encoders' tokens as a weighted sum, as in MERV.
        num_frames: Frames sampled from a video.
        tokens_per_frame: Visual tokens of each frame; None keeps all patch tokens (`mlp` and `mixer` only).
        selector: A name in `vidweave list selectors`, or a selector's configuration. `grounding` is VideoTGB's bridge. Or a
            frame selector, which scores frames itself: `similarity:MODEL` or `ground:MODEL` with the folder or hub id of a
            dual encoder (CLIP, SigLIP); its name is saved with the model.
        memory: Entries of MA-LMM's memory banks: all frames then become `tokens_per_frame` tokens (`qformer` only).
        qformer: Folder or hub id of BLIP-2 or InstructBLIP, whose Q-Former the connector starts from.
        adapter_rank: Rank of CREMA's adapter, one for each encoder, in the shared Q-Former; 0 is none.
        choices: Options are shown with letters and letters are scored (`letters`), or both as texts (`texts`).
        layer: Hidden state of the towers that is used, as transformers counts them; LLaVA takes -2 of CLIP.
        device, dtype: As of `vidweave.load`.

    Raises:
        CheckpointError: a part that is not there, or lacks a file.
        ConfigError, UnknownNameError: settings or parts that do not fit each other.
    """
    is_in_front = names_frame_selector(selector)
    if is_in_front and isinstance(selector, str):
        check_frame_selector(selector)
    names = (encoders,) if isinstance(encoders, (str, Path)) else tuple(encoders)
    settings = Composition(
        encoders=names,
        language_model=language_model,
        connector=connector,
        num_frames=num_frames,
        tokens_per_frame=tokens_per_frame,
        selector="uniform" if is_in_front else selector,
        memory=memory,
        qformer=qformer,
        adapter_rank=adapter_rank,
        choices=choices,
        layer=layer,
    )
    place = None if device is None else usable_device(device)
    chosen: Any = getattr(torch, check_dtype(dtype)) if isinstance(dtype, str) else dtype
    with quiet_loading():
        model, bases = compose_model(settings, dtype=chosen or torch.float32)
    if place is not None:
        model.to(place)  # type: ignore[arg-type]  # transformers' wrapper of `to` loses its signature
    if is_in_front and isinstance(selector, str):
        model.config.frame_selector = selector
    pipe = SlotPipeline(model, selector=selector if is_in_front else None)
    pipe.bases = bases
    return pipe
