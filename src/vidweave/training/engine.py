"""Engine of the training loop: Lightning Fabric, with one or several processes."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import torch

from vidweave.errors import MissingExtraError, TrainingError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["is_out_of_memory", "start_engine"]


def start_engine(*, accelerator: str, devices: int, strategy: Any) -> Fabric:
    """Start Fabric and, for several devices, the other processes.

    Raises:
        MissingExtraError: lightning-fabric is not installed.
        TrainingError: Fabric refuses the devices, or the strategy shards weights.
    """
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies.fsdp import FSDPStrategy
        from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
    except ImportError as error:
        raise MissingExtraError("lightning-fabric", "train", "training") from error
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning_fabric.*")
        try:
            fabric = Fabric(accelerator=accelerator, devices=devices, strategy=strategy)
        except (ValueError, RuntimeError) as error:  # includes Lightning's MisconfigurationException
            raise TrainingError(
                f"cannot train on {devices} device(s) of {accelerator!r} with {strategy!r}: {error}"
            ) from error
        if isinstance(fabric.strategy, FSDPStrategy | ModelParallelStrategy):
            raise TrainingError("checkpoints hold whole tensors, sharded strategies are not supported; use 'ddp'")
        fabric.launch()
    return fabric


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the host ran out of memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
