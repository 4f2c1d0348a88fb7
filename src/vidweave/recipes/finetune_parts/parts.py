"""The trainable parameters of each stage of fine-tuning, for every architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from vidweave.errors import ConfigError
from vidweave.language.adapters import add_lora
from vidweave.model.assembly import VideoLanguageModel
from vidweave.training import HasStream, Pass

__all__ = ["LEARNING_RATES", "StageName", "trainable_passes"]

StageName = Literal["connector", "lora", "full"]

# LLaVA-1.5 trains its projector with 1e-3, LoRA with 2e-4 and the whole language model with 2e-5.
LEARNING_RATES: Mapping[str, float] = {"connector": 1e-3, "lora": 2e-4, "full": 2e-5}


def trainable_passes(
    model: VideoLanguageModel, stage: StageName, *, sequential: bool, rank: int, alpha: float
) -> tuple[Pass, ...]:
    """The passes of a stage; `lora` adds adapters to the language model first, which change no answer yet.

    Args:
        sequential: A pass per stream, which trains its port (and the fusion) on the batches that hold the stream.

    Raises:
        ConfigError: nothing to train, or `sequential` in a stage other than `connector`.
    """
    if sequential and stage != "connector":
        raise ConfigError(f"sequential=true trains the ports of the connector one by one; stage={stage} has none")
    if stage == "lora":
        if model.language_model.config.lora is None:
            add_lora(model.language_model, rank=rank, alpha=alpha)
        return (Pass("lora", ("language_model.*.lora_*",)),)
    names = [name for name, _ in model.named_parameters()]
    if not any(name.startswith("connector.") for name in names):
        raise ConfigError("the connector of this model has no parameters; train with stage=lora or stage=full")
    if sequential:
        fusion = ("connector.fusion.*",) if any(name.startswith("connector.fusion.") for name in names) else ()
        streams = [n for n in model.spec.connector_streams if any(p.startswith(f"connector.ports.{n}.") for p in names)]
        return tuple(Pass(name, (f"connector.ports.{name}.*", *fusion), HasStream(name)) for name in streams)
    return (Pass(stage, ("connector.*", "language_model.*") if stage == "full" else ("connector.*",)),)
