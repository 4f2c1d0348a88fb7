"""Layers of RAFT (arXiv 2003.12039): the frame encoder, and the update block that refines a flow iteratively."""

# Axes: B frames or pairs, H height, W width, h and w of the features (an eighth), C channels

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["FrameEncoder", "UpdateBlock"]

Norm = Literal["instance", "batch"]
HIDDEN = 128  # channels of the recurrent state and of the context


def _norm(kind: Norm, channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels) if kind == "instance" else nn.BatchNorm2d(channels)


class _ResidualBlock(nn.Module):
    def __init__(self, channels_in: int, channels: int, norm: Norm, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1)
        self.norm1 = _norm(norm, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = _norm(norm, channels)
        self.shortcut = self.shortcut_norm = None
        if stride != 1:
            self.shortcut = nn.Conv2d(channels_in, channels, 1, stride=stride)
            self.shortcut_norm = _norm(norm, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(self.conv1(x)).relu()
        y = self.norm2(self.conv2(y)).relu()
        if self.shortcut is not None and self.shortcut_norm is not None:
            x = self.shortcut_norm(self.shortcut(x))
        return (x + y).relu()


class FrameEncoder(nn.Module):
    """(B, 3, H, W) → (B, 256, H / 8, W / 8)."""

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3)
        self.norm1 = _norm(norm, 64)
        stages, channels_in = [], 64
        for channels, stride in ((64, 1), (96, 2), (128, 2)):
            first = _ResidualBlock(channels_in, channels, norm, stride)
            stages.append(nn.Sequential(first, _ResidualBlock(channels, channels, norm, 1)))
            channels_in = channels
        self.layer1, self.layer2, self.layer3 = stages
        self.conv2 = nn.Conv2d(128, 256, 1)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.norm1(self.conv1(frames)).relu()
        return self.conv2(self.layer3(self.layer2(self.layer1(x))))


class _MotionEncoder(nn.Module):
    """Encode correlations and the current flow in 128 channels, of which the last two are the flow itself."""

    def __init__(self, correlations: int) -> None:
        super().__init__()
        self.convc1 = nn.Conv2d(correlations, 256, 1)
        self.convc2 = nn.Conv2d(256, 192, 3, padding=1)
        self.convf1 = nn.Conv2d(2, 128, 7, padding=3)
        self.convf2 = nn.Conv2d(128, 64, 3, padding=1)
        self.conv = nn.Conv2d(192 + 64, HIDDEN - 2, 3, padding=1)

    def forward(self, flow: Tensor, correlation: Tensor) -> Tensor:
        seen = self.convc2(self.convc1(correlation).relu()).relu()
        moved = self.convf2(self.convf1(flow).relu()).relu()
        return torch.cat([self.conv(torch.cat([seen, moved], 1)).relu(), flow], 1)


class _SeparableGRU(nn.Module):
    """Convolutional GRU that mixes along rows, then along columns."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for index, (kernel, padding) in enumerate((((1, 5), (0, 2)), ((5, 1), (2, 0))), start=1):
            for gate in "zrq":
                self.add_module(f"conv{gate}{index}", nn.Conv2d(HIDDEN + width, HIDDEN, kernel, padding=padding))

    def forward(self, state: Tensor, x: Tensor) -> Tensor:
        for index in (1, 2):
            update, reset, new = (self.get_submodule(f"conv{gate}{index}") for gate in "zrq")
            both = torch.cat([state, x], 1)
            keep, opened = update(both).sigmoid(), reset(both).sigmoid()
            candidate = new(torch.cat([opened * state, x], 1)).tanh()
            state = (1 - keep) * state + keep * candidate
        return state


class _FlowHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(HIDDEN, 256, 3, padding=1)
        self.conv2 = nn.Conv2d(256, 2, 3, padding=1)

    def forward(self, state: Tensor) -> Tensor:
        return self.conv2(self.conv1(state).relu())


class UpdateBlock(nn.Module):
    """Compute the new state and the flow increment from state, context, correlations and flow."""

    def __init__(self, correlations: int) -> None:
        super().__init__()
        self.encoder = _MotionEncoder(correlations)
        self.gru = _SeparableGRU(2 * HIDDEN)
        self.flow_head = _FlowHead()
        self.mask = nn.Sequential(nn.Conv2d(HIDDEN, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, 64 * 9, 1))

    def forward(self, state: Tensor, context: Tensor, correlation: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        state = self.gru(state, torch.cat([context, self.encoder(flow, correlation)], 1))
        return state, self.flow_head(state)

    def enlarge(self, flow: Tensor, state: Tensor) -> Tensor:
        """(B, 2, h, w) → (B, 2, 8h, 8w): each fine point is a weighted mean of 9 coarse neighbors, in fine pixels."""
        batch, _, height, width = flow.shape
        weight = (0.25 * self.mask(state)).view(batch, 1, 9, 8, 8, height, width).softmax(2)
        near = functional.unfold(8 * flow, 3, padding=1).view(batch, 2, 9, 1, 1, height, width)
        return (weight * near).sum(2).permute(0, 1, 4, 2, 5, 3).reshape(batch, 2, 8 * height, 8 * width)
