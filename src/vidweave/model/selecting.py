"""Values of a selector: motion energy, and tensors that must be finite."""

# Axes: R rows, L motion steps, N tokens

from __future__ import annotations

from torch import Tensor

from vidweave.nn.numbers import Checked
from vidweave.types import Features, Selection

__all__ = ["motion_energy", "selection_numbers"]


def motion_energy(motion: Features) -> Tensor:
    """(R, L) how much moves in each step: the length of all its motion vectors together."""
    return motion.values.float().flatten(2).norm(dim=2) * motion.mask.any(-1)


def selection_numbers(selection: Selection) -> dict[str, Checked]:
    """Outputs of a selector by name, with masks; see `nn.numbers.require_finite`."""
    parts: dict[str, tuple[Tensor | None, Tensor | None]] = {
        "logits": (selection.logits, selection.step_mask),
        "scores": (selection.scores, None),
        "weights": (selection.mix, None),
        "timestamps": (selection.seconds, selection.mask),
    }
    return {name: (values, mask) for name, (values, mask) in parts.items() if values is not None}
