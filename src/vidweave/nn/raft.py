"""RAFT (arXiv 2003.12039, the basic model): dense optical flow without torchvision. Loads published weights."""

# Axes: F frames, P pairs, H height, W width, h and w of the features (an eighth)

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.errors import ShapeError
from vidweave.nn.keys import KeyTable
from vidweave.nn.raft_correlation import CorrelationPyramid, pixel_grid
from vidweave.nn.raft_layers import HIDDEN, FrameEncoder, UpdateBlock

__all__ = ["RAFT_KEYS", "SMALLEST", "Raft", "consecutive", "raft_from_published"]

SMALLEST = 128  # pixels per side: below, the coarsest correlations are one point wide

# princeton-vl's files (raft-things, raft-sintel, …) store the norm of a shortcut under two names.
RAFT_KEYS = KeyTable(
    (
        *(
            (f"{net}.layer{{i}}.{{i}}.{theirs}.", f"{net}.layer{{i}}.{{i}}.{ours}.")
            for net in ("fnet", "cnet")
            for theirs, ours in (("downsample.0", "shortcut"), ("norm3", "shortcut_norm"))
        ),
        ("fnet.", "fnet."),
        ("cnet.", "cnet."),
        ("update_block.", "update_block."),
    ),
    dropped=(r".*\.downsample\.1\..*",),
)


def raft_from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert a published state dict, with or without the `module.` prefix of training, to our names."""
    return RAFT_KEYS.to_ours({key.removeprefix("module."): value for key, value in state.items()})


def consecutive(num_frames: int) -> Tensor:
    """(F - 1, 2): each frame with the next one."""
    first = torch.arange(max(num_frames - 1, 0))
    return torch.stack([first, first + 1], -1)


class Raft(nn.Module):
    """RAFT network, normally frozen: its batch norms always use their stored statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.fnet = FrameEncoder("instance")
        self.cnet = FrameEncoder("batch")
        self.update_block = UpdateBlock(4 * 9**2)

    def train(self, mode: bool = True) -> Raft:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, frames: Tensor, pairs: Tensor | None = None, *, iterations: int = 20, chunk: int = 8) -> Tensor:
        """Estimate the flow of frame pairs; each frame is encoded once for adjacent pairs.

        Args:
            frames: (F, 3, H, W), RGB, 0..255; any dtype.
            pairs: (P, 2) indices (from, to), ascending for reuse; None is each frame with the next.
            iterations: Number of refinements.
            chunk: Pairs per forward pass; peak memory depends on it instead of on P.

        Returns:
            (P, 2, H, W): x and y displacement in pixels.

        Raises:
            ShapeError: frames of another shape, or smaller than 128 pixels per side.
        """
        if frames.ndim != 4 or frames.shape[1] != 3 or min(frames.shape[-2:]) < SMALLEST:
            raise ShapeError(
                f"RAFT expects frames (F, 3, H, W) of at least {SMALLEST} pixels per side, got {tuple(frames.shape)}; "
                "enlarge them first"
            )
        pairs = consecutive(len(frames)) if pairs is None else pairs
        height, width = frames.shape[-2:]
        borders = _borders(height, width)
        top, left = borders[2], borders[0]
        known: dict[int, Tensor] = {}
        flows = [frames.new_zeros(0, 2, height, width, dtype=self.fnet.conv1.weight.dtype)]
        for part in pairs.split(chunk) if len(pairs) else ():
            known = self._encoded(frames, part, known, borders)
            first, second = (torch.stack([known[i] for i in part[:, side].tolist()]) for side in (0, 1))
            context = self.cnet(self._scaled(frames[part[:, 0]], borders))
            flow = self._refined(first, second, context, iterations)
            flows.append(flow[..., top : top + height, left : left + width])
        return torch.cat(flows)

    def _encoded(
        self, frames: Tensor, pairs: Tensor, known: Mapping[int, Tensor], borders: tuple[int, ...]
    ) -> dict[int, Tensor]:
        """Return features of the frames in `pairs`; reuse those in `known` and forget all others."""
        needed = pairs.unique().tolist()
        new = [index for index in needed if index not in known]
        made = self.fnet(self._scaled(frames[new], borders)) if new else ()
        return {index: known[index] for index in needed if index in known} | dict(zip(new, made, strict=True))

    def _scaled(self, frames: Tensor, borders: tuple[int, ...]) -> Tensor:
        """Scale 0..255 to -1..1 and replicate the edges to multiples of eight."""
        scaled = frames.to(self.fnet.conv1.weight.dtype) * (2 / 255) - 1
        return functional.pad(scaled, borders, mode="replicate") if any(borders) else scaled

    def _refined(self, first: Tensor, second: Tensor, context: Tensor, iterations: int) -> Tensor:
        """Features (P, 256, h, w) of both frames, context of the first → flow (P, 2, 8h, 8w)."""
        state, context = context.split(HIDDEN, 1)
        state, context = state.tanh(), context.relu()
        pyramid = CorrelationPyramid(first, second)
        start = pixel_grid(*first.shape[-2:], like=first)
        flow = torch.zeros_like(start).expand(len(first), -1, -1, -1)
        for _ in range(iterations):
            flow = flow.detach()
            state, change = self.update_block(state, context, pyramid.around(start + flow), flow)
            flow = flow + change
        return self.update_block.enlarge(flow, state)


def _borders(height: int, width: int) -> tuple[int, int, int, int]:
    """Left, right, top and bottom padding to multiples of 8, the smaller half first."""
    down, right = -height % 8, -width % 8
    return right // 2, right - right // 2, down // 2, down - down // 2
