"""As much of timm as the adapter uses: one transformer with a class token and a register, after timm's interface."""

import types

import torch
from torch import nn


class Transformer(nn.Module):
    num_prefix_tokens = 2

    def __init__(self, img_size, embed_dim=10):
        super().__init__()
        self.embed_dim = embed_dim
        self.patch_embed = nn.Conv2d(3, embed_dim, 4, stride=4)
        self.patch_embed.num_patches = (img_size[0] // 4) * (img_size[1] // 4)
        self.prefix = nn.Parameter(torch.randn(1, 2, embed_dim))
        self.blocks = nn.ModuleList(nn.Linear(embed_dim, embed_dim) for _ in range(3))

    def forward_intermediates(self, x, indices, norm, return_prefix_tokens, intermediates_only, output_fmt):
        assert (norm, intermediates_only, output_fmt) == (False, True, "NLC")
        patches = self.patch_embed(x).flatten(2).transpose(1, 2)
        states, result = torch.cat([self.prefix.expand(len(x), -1, -1), patches], 1), []
        for index, block in enumerate(self.blocks):
            states = block(states)
            if index in indices:
                result.append((states[:, 2:], states[:, :2]) if return_prefix_tokens else states[:, 2:])
        return result


def module():
    """What stands in `sys.modules` as `timm`."""
    timm = types.ModuleType("timm")
    timm.list_models = lambda: ["vit_tiny"]
    timm.create_model = lambda name, pretrained, num_classes, img_size, **options: Transformer(img_size, **options)
    return timm
