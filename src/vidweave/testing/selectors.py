"""Contract checks of selectors."""

# Axes: R rows, C candidates, k timestamps, m spans

from __future__ import annotations

from typing import Any

import torch

from vidweave.errors import ConfigError
from vidweave.testing.close import expect_close, expect_finite
from vidweave.types import Features, Selection, Selector, TextTokens

__all__ = ["check_selector"]


def check_selector(selector: Any, *, motion: Features | None = None, text: TextTokens | None = None) -> None:
    """Check a selector in eval mode on four rows of candidates; raises AssertionError.

    `motion` and `text` (four rows each) are for selectors that need them.

    Timestamps lie inside their clip; a selection is deterministic; rows are independent; short and empty clips are
    legal; the loss is a finite scalar, or a ConfigError that says there is none.
    """
    assert isinstance(selector, Selector), "a selector has `forward`, `loss` and `needs_motion`"
    candidates = torch.arange(9, dtype=torch.float64).expand(4, -1) * 0.5 + torch.tensor([[1.0], [0.0], [4.0], [0.0]])
    mask = torch.arange(9) < torch.tensor([9, 4, 1, 0])[:, None]
    with torch.no_grad():
        chosen = selector.forward(motion, text, candidates, mask, k=3)
        again = selector.forward(motion, text, candidates, mask, k=3)
        _check_selection(chosen, candidates, mask)
        expect_close(again.seconds, chosen.seconds, "the same candidates again")
        if motion is None and text is None:
            alone = selector.forward(None, None, candidates[1:2], mask[1:2], k=3)
            expect_close(alone.seconds[0][alone.mask[0]], chosen.seconds[1][chosen.mask[1]], "one row alone")
    _check_loss(selector, chosen)


def _check_selection(chosen: Selection, candidates: torch.Tensor, mask: torch.Tensor) -> None:
    for row in range(3):
        timestamps, real = chosen.seconds[row][chosen.mask[row]], candidates[row][mask[row]]
        assert len(timestamps), f"row {row} has candidates, but no timestamp was chosen"
        inside = bool((timestamps >= real.min()).all() and (timestamps <= real.max()).all())
        assert inside, f"timestamps {timestamps.tolist()} lie outside the clip {real.min():g}..{real.max():g} s"
    assert not bool(chosen.mask[3].any()), "a row without candidates has no timestamps"
    expect_finite(chosen.seconds, "timestamps")
    assert bool((chosen.spans[..., 0] <= chosen.spans[..., 1]).all()), "spans end before they start"


def _check_loss(selector: Any, chosen: Selection) -> None:
    target = torch.tensor([[[1.0, 2.0]], [[0.0, 1.0]], [[4.0, 4.0]], [[0.0, 0.0]]])
    try:
        loss = selector.loss(chosen, target)
    except ConfigError:
        return
    assert loss.ndim == 0, f"the loss must be a scalar, got shape {tuple(loss.shape)}"
    expect_finite(loss, "the loss")
