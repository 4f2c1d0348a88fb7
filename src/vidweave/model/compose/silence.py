"""A new connector that says nothing yet: the language model answers as it does alone, and training starts from there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vidweave.connectors.connector import Connector

__all__ = ["neutral_embedding", "silence"]


@torch.no_grad()
def silence(connector: Connector, neutral: Tensor) -> None:
    """Set the last layer of every port to zero and its bias to `neutral` (D,), which all its tokens then are.

    Zero vectors would not do: an RMSNorm has a gradient of 1 / sqrt(eps) there, and prompts never hold such a token.
    """
    ports: Any = connector.ports
    for port in ports.values():
        trunk: Any = connector.trunks[port.trunk]
        last = port.output_proj if port.output_proj is not None else _last_linear(trunk)
        last.weight.zero_()
        last.bias.copy_(neutral)


def neutral_embedding(embeddings: Tensor, tokenizer: Any) -> Tensor:
    """The embedding (D,) of a line break, which prompts hold any number of; without such a token the mean embedding."""
    ids = tokenizer("\n", add_special_tokens=False, verbose=False)["input_ids"]
    if len(ids) == 1 and ids[0] != tokenizer.unk_token_id:
        return embeddings[ids[0]]
    return embeddings.mean(0)


def _last_linear(trunk: nn.Module) -> nn.Linear:
    return [layer for layer in trunk.modules() if isinstance(layer, nn.Linear)][-1]
