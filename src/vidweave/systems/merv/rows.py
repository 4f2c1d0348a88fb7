"""Rows compared with tiny-merv: the frozen parts of tiny-merv, and the trained weights of each row."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vidweave.errors import CheckpointError, UnknownNameError
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.assets import asset_folder
from vidweave.model.load import load_model
from vidweave.model.processor import Processor
from vidweave.systems.merv.tiny import ROWS, tiny_merv

__all__ = ["MODEL", "load_row", "own_weights"]

MODEL = "tiny-merv"
# The general encoder and the generalist use the Q-Former of tiny-base.
_QFORMERS = ("connector.trunks.general.", "connector.trunks.generalist.")
_SHARED = ("encoders.general.", "encoders.detail.", "encoders.tempo.", "language_model.", *_QFORMERS)


def own_weights(model: nn.Module) -> dict[str, Tensor]:
    """Weights of a row alone: ports, fusion, the trunks of special encoders; and the generalist's encoder."""
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(_SHARED)}


def load_row(row: str) -> VideoLanguageModel:
    """Load the model of a row of `systems.merv.tiny.ROWS`, in evaluation mode; `attention` is tiny-merv itself.

    Raises:
        UnknownNameError: unknown row.
        CheckpointError: its weights are not shipped with this installation, or do not fit.
    """
    if row not in ROWS:
        raise UnknownNameError("row of tiny-merv", row, ROWS)
    whole = load_model(MODEL)
    if row == "attention":
        return whole
    file = Path(asset_folder(MODEL) or MODEL).parent / f"{MODEL}-rows" / f"{row}.safetensors"
    if not file.is_file():
        raise CheckpointError(f"row {row!r} of {MODEL} has no weights at {file}; recipes/tiny/merv.py trains them")
    config = tiny_merv(row)
    with torch.device("meta"):
        skeleton = VideoLanguageModel(config)
    shared = whole.state_dict()
    shared |= {name.replace(*_QFORMERS): tensor for name, tensor in shared.items()}
    state = {name: shared[name] for name in skeleton.state_dict() if name.startswith(_SHARED)}
    state |= {name: tensor.to(whole.dtype) for name, tensor in load_file(file).items()}
    model = VideoLanguageModel.from_state(config, state, what=str(file), skeleton=skeleton).eval()
    model.processor = Processor(config, whole.processor.tokenizers)
    return model
