"""Names of projectors and fusions in released configurations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vidweave.connectors.mlp import HeadKind
from vidweave.errors import ConfigError
from vidweave.systems.merv.preset import Fusion

__all__ = ["FUSIONS", "HEADS", "Arch", "parse_arch"]

HEADS: dict[str, HeadKind] = {"fused-gelu-mlp": "fused_mlp", "gelu-mlp": "mlp", "linear": "linear", "none": "none"}
FUSIONS: dict[str, Fusion] = {
    "cross_attention_avg_lq": "attention",
    "first": "equal",
    "concat": "sequence",
    "concat_channel": "channel",
    "concat_channel_ln": "channel_norm",
    "scalar": "scalar",
}


@dataclass(frozen=True)
class Arch:
    """Contents of a released `arch_specifier`: token pooling, number of pooled frames, and the head."""

    pooling: Literal["none", "average", "average3d", "resampler", "conv2d", "conv3d"]
    time: int
    head: HeadKind


def parse_arch(text: str) -> Arch:
    """Parse a `+`-separated specifier, e.g. `no-align+3davg+linear`.

    Raises:
        ConfigError: an unknown word.
    """
    poolings = {"avg": "average", "3davg": "average3d", "attntv": "resampler", "conv": "conv2d", "3dconv": "conv3d"}
    words = text.split("+")
    pooling, time, head = "none", 1, None
    for word in words:
        if word in poolings:
            pooling = poolings[word]
        elif word in HEADS:
            head = HEADS[word]
        elif word.startswith("frame") and word[5:].isdigit() and int(word[5:]):
            time = int(word[5:])
        elif word != "no-align":  # names the original's first training stage, independent of the model
            raise ConfigError(
                f"{word!r} in arch_specifier {text!r} is not one of {', '.join([*poolings, *HEADS])}, frame<k>"
            )
    if head is None:
        raise ConfigError(f"arch_specifier {text!r} names no head ({', '.join(HEADS)})")
    return Arch(pooling, time, head)  # type: ignore[arg-type]
