"""One step: a batch through the objective, and the optimizer updates of all passes."""

from __future__ import annotations

import math
import random
from contextlib import nullcontext
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from vidweave.errors import TrainingError
from vidweave.training.early_exit import ExitState
from vidweave.training.objectives import checked_losses
from vidweave.training.stages import AdamWSettings, Stage, match_parameters

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["StageStep", "TrainStep", "freeze", "make_optimizer", "seed_step", "set_modes"]


class _Sealed:
    """A batch that passes through Fabric's wrappers untouched; they would refuse frozen dataclasses."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch


class TrainStep(nn.Module):
    """Model and objective as the one module that Fabric wraps."""

    def __init__(self, model: nn.Module, stage: Stage) -> None:
        super().__init__()
        if isinstance(stage.objective, nn.Module) and next(stage.objective.parameters(), None) is not None:
            raise TrainingError(f"the objective of stage {stage.name!r} holds parameters; put them into the model")
        self.model = model
        self._stage = (stage,)  # in a tuple, so that an objective that is a module is not registered

    def forward(self, sealed: _Sealed) -> dict[str, Tensor]:
        """Losses, each one number in float32."""
        (stage,) = self._stage
        device = next(self.model.parameters()).device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=stage.precision == "bf16-mixed"):
            losses = checked_losses(stage.objective(self.model, sealed.batch), f"stage {stage.name!r}")
        return {name: value.float().reshape(()) for name, value in losses.items()}


class StageStep:
    """What a stage does with a batch. Freezes what does not learn, makes the optimizer, wraps the model."""

    def __init__(
        self, fabric: Fabric, model: nn.Module, stage: Stage, *, step: int = 0, exit_state: dict[str, Any] | None = None
    ) -> None:
        self.fabric = fabric
        self.stage = stage
        self.passes = stage.trainable(model)
        self._step = step
        self.exits = None if stage.early_exit is None else ExitState(stage.early_exit, self.passes, exit_state)
        learnt = {name for names in self.passes.values() for name in names}
        freeze(model, learnt)
        set_modes(model)
        self.parameters = {name: p for name, p in model.named_parameters() if name in learnt}
        self.raw_optimizer = make_optimizer(self.parameters, stage.optimizer)
        self.module, self.optimizer = fabric.setup(TrainStep(model, stage), self.raw_optimizer)

    def __call__(self, micro_batches: list[Any], lr_factor: float) -> dict[str, float]:
        """Update all passes; return losses averaged over processes, gradient norms and the rate.

        Raises:
            TrainingError: a loss or gradient is not finite; nothing of that pass was updated.
        """
        lr = self.stage.optimizer.lr * lr_factor
        for group in self.raw_optimizer.param_groups:
            group["lr"] = lr
        active = list(self.passes) if self.exits is None else self.exits.active
        rows = {name: self._update(name, micro_batches) for name in active}
        if self.exits is not None:
            self.exits.observe({name: row["gauge"] for name, row in rows.items()}, self._step)
        self._step += 1
        if len(self.passes) == 1:
            return {"lr": lr, **next(iter(rows.values()))}
        named = {f"{name}/{key}": value for name, row in rows.items() for key, value in row.items()}
        return {"lr": lr, "loss": sum(row["loss"] for row in rows.values()), **named}

    @property
    def is_done(self) -> bool:
        """Every pass has left."""
        return self.exits is not None and not self.exits.active

    def _update(self, name: str, micro_batches: list[Any]) -> dict[str, float]:
        losses = self._backward(micro_batches)
        active = set(self.passes[name])
        for parameter_name, parameter in self.parameters.items():
            if parameter_name not in active:
                parameter.grad = None
        gauge = {} if self.exits is None else {"gauge": self._gauge(name)}
        limit = self.stage.optimizer.clip_norm or math.inf
        norm = self.fabric.clip_gradients(self.module, self.optimizer, max_norm=limit, error_if_nonfinite=False)
        assert norm is not None
        row = self._averaged({**losses, "grad_norm": norm, **gauge})
        bad = [f"{key} is {row[key]}" for key in ("loss", "grad_norm") if not math.isfinite(row[key])]
        if bad:
            self.optimizer.zero_grad()
            raise TrainingError(f"{', '.join(bad)} in pass {name!r}")
        self.optimizer.step()
        self.optimizer.zero_grad()
        return row

    def _gauge(self, name: str) -> Tensor:
        """Norm of the gradients of a pass's measured parameters, before they are clipped."""
        assert self.stage.early_exit is not None
        where = f"early exit of pass {name!r} in stage {self.stage.name!r}"
        measured = match_parameters(self.passes[name], self.stage.early_exit.measured, where)
        grads = [grad for key in measured if (grad := self.parameters[key].grad) is not None]
        device = next(iter(self.parameters.values())).device
        return torch.cat([grad.flatten().float() for grad in grads]).norm() if grads else torch.zeros((), device=device)

    def _backward(self, micro_batches: list[Any]) -> dict[str, Tensor]:
        """Gradients of the mean over micro-batches; returns the mean losses of this process."""
        count = len(micro_batches)
        means: dict[str, Tensor] = {}
        for i, batch in enumerate(micro_batches):
            is_last = i == count - 1
            waits = not is_last and self.fabric.world_size > 1
            with self.fabric.no_backward_sync(self.module) if waits else nullcontext():
                losses = self.module(_Sealed(self.fabric.to_device(batch)))
                if not losses["loss"].requires_grad:
                    raise TrainingError("the loss depends on no parameter that learns; check the passes of the stage")
                self.fabric.backward(losses["loss"] / count)
            for key, value in losses.items():
                means[key] = means.get(key, 0) + value.detach() / count
        return means

    def _averaged(self, values: dict[str, Tensor]) -> dict[str, float]:
        """The same numbers on every process, so that all go on or all stop."""
        keys = sorted(values, key=lambda key: (key != "loss", key))
        numbers = torch.stack([values[key].to(torch.float32) for key in keys])
        reduced: Any = self.fabric.all_reduce(numbers, reduce_op="mean") if self.fabric.world_size > 1 else numbers
        return dict(zip(keys, reduced.tolist(), strict=True))


def make_optimizer(parameters: dict[str, nn.Parameter], settings: AdamWSettings) -> torch.optim.AdamW:
    """AdamW over named parameters in two groups: with weight decay, and without."""
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in parameters.items():
        groups[settings.decays(name, parameter.ndim)].append(parameter)
    return torch.optim.AdamW(
        [
            {"params": members, "weight_decay": settings.weight_decay if decays else 0.0}
            for decays, members in groups.items()
            if members
        ],
        lr=settings.lr,
        betas=settings.betas,
        eps=settings.eps,
    )


def freeze(model: nn.Module, learnt: set[str]) -> None:
    """Let exactly the parameters in `learnt` require gradients; no parameter keeps an old gradient."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in learnt)
        parameter.grad = None


def set_modes(module: nn.Module) -> None:
    """Training mode, except for whatever holds only frozen parameters (its dropout and norms must not move)."""
    parameters = list(module.parameters())
    if parameters and not any(p.requires_grad for p in parameters):
        module.eval()
        return
    module.training = True
    for child in module.children():
        set_modes(child)


def seed_step(seed: int, stage: int, step: int, rank: int) -> None:
    """Seed Python, numpy and torch for one step.

    Every step begins from its own seed, so that a resumed run needs no generator states, and nothing that happens
    between two steps (evaluation, logging, an interruption) can change what follows.
    """
    number = int.from_bytes(blake2b(f"{seed}:{stage}:{step}:{rank}".encode(), digest_size=8).digest(), "little")
    random.seed(number)
    np.random.seed(number & 0xFFFFFFFF)
    torch.manual_seed(number)
