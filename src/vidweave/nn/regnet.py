"""RegNet bottlenecks with channel norms, for projectors that mix neighboring patches."""

# Axes: G grids, C channels, S side

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["RegNetStage"]


class _ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels at each position: (G, C, S, S) → same."""

    def forward(self, planes: Tensor) -> Tensor:
        return super().forward(planes.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _conv_norm(inputs: int, outputs: int, size: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, _ChannelNorm(outputs))


class _Bottleneck(nn.Module):
    """1x1, depthwise 3x3, channel gates from the spatial mean (a quarter of the input's channels), 1x1; residual."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.expand = _conv_norm(inputs, outputs)
        self.mix = _conv_norm(outputs, outputs, size=3, groups=outputs)
        self.squeeze = nn.Conv2d(outputs, round(0.25 * inputs), 1)
        self.gate = nn.Conv2d(round(0.25 * inputs), outputs, 1)
        self.project = _conv_norm(outputs, outputs)
        self.shortcut = _conv_norm(inputs, outputs) if inputs != outputs else nn.Identity()

    def forward(self, planes: Tensor) -> Tensor:
        mixed = functional.silu(self.mix(functional.silu(self.expand(planes))))
        gates = self.gate(functional.silu(self.squeeze(mixed.mean((2, 3), keepdim=True)))).sigmoid()
        return functional.silu(self.project(mixed * gates) + self.shortcut(planes))


class RegNetStage(nn.Sequential):
    """`depth` bottlenecks, (G, inputs, S, S) → (G, outputs, S, S)."""

    def __init__(self, inputs: int, outputs: int, depth: int = 3) -> None:
        super().__init__(*(_Bottleneck(outputs if i else inputs, outputs) for i in range(depth)))
