"""What a composed model is made of, checked before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from vidweave.errors import ConfigError, UnknownNameError
from vidweave.registry import SELECTORS

__all__ = ["CHOICES", "CONNECTOR_KINDS", "Choices", "Composition", "ConnectorKind"]

ConnectorKind = Literal["mlp", "qformer", "resampler", "mixer"]
CONNECTOR_KINDS: tuple[str, ...] = get_args(ConnectorKind)
Choices = Literal["letters", "texts"]
CHOICES: tuple[str, ...] = get_args(Choices)


@dataclass(frozen=True, kw_only=True)
class Composition:
    """Settings of `vidweave.compose`, which has the words for each.

    Example::

        Composition(encoders=("google/siglip2-base-patch16-224",), language_model="Qwen/Qwen3-0.6B", connector="mlp")
    """

    encoders: tuple[str | Path, ...]
    language_model: str | Path
    connector: ConnectorKind = "mlp"
    num_frames: int = 8
    tokens_per_frame: int | None = 16
    selector: Any = "uniform"
    memory: int | None = None
    qformer: str | Path | None = None
    adapter_rank: int = 0
    choices: Choices = "letters"
    layer: int = -1

    def __post_init__(self) -> None:
        if not self.encoders:
            raise ConfigError(
                "compose needs at least one encoder; give a hub id or a folder of a vision or audio tower"
            )
        if self.connector not in CONNECTOR_KINDS:
            raise UnknownNameError("connector", str(self.connector), CONNECTOR_KINDS)
        if self.choices not in CHOICES:
            raise UnknownNameError("choices", str(self.choices), CHOICES)
        if isinstance(self.selector, str) and self.selector not in SELECTORS:
            raise UnknownNameError("selector", self.selector, SELECTORS)
        self._check_numbers()
        self._check_connector()

    def _check_numbers(self) -> None:
        if self.num_frames < 1:
            raise ConfigError(f"num_frames must be at least 1, got {self.num_frames}")
        if self.tokens_per_frame is not None and self.tokens_per_frame < 1:
            raise ConfigError(f"tokens_per_frame must be at least 1, got {self.tokens_per_frame}")
        if self.memory is not None and self.memory < 1:
            raise ConfigError(f"memory must be at least 1, or None for no memory, got {self.memory}")
        if self.adapter_rank < 0:
            raise ConfigError(f"adapter_rank must be at least 0, got {self.adapter_rank}")

    def _check_connector(self) -> None:
        if self.connector == "mixer" and len(self.encoders) < 2:
            raise ConfigError(
                "connector 'mixer' mixes the tokens of several encoders, got one; add another, or take 'mlp'"
            )
        if self.connector in ("qformer", "resampler") and self.tokens_per_frame is None:
            raise ConfigError(f"connector {self.connector!r} needs tokens_per_frame, the number of its queries")
        for name, value in (("memory", self.memory), ("qformer", self.qformer), ("adapter_rank", self.adapter_rank)):
            if value and self.connector != "qformer":
                raise ConfigError(f"{name} belongs to connector 'qformer', not to {self.connector!r}")
