"""One training step: the objective on a batch, and the optimizer updates of all passes."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from contextlib import nullcontext
from hashlib import blake2b
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from vidweave.errors import TrainingError
from vidweave.training.batches import MicroBatch
from vidweave.training.early_exit import ExitState
from vidweave.training.health import check_finite, check_trainable_dtypes
from vidweave.training.objectives import checked_losses
from vidweave.training.shares import Shares, step_shares
from vidweave.training.stages import AdamWSettings, Stage, match_parameters

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["StageStep", "TrainStep", "freeze", "make_optimizer", "seed_step", "set_modes"]


class _Sealed:
    """Batch that passes through Fabric's wrappers unchanged; they would reject frozen dataclasses."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch


class TrainStep(nn.Module):
    """Model and objective as a single module for Fabric to wrap."""

    def __init__(self, model: nn.Module, stage: Stage) -> None:
        super().__init__()
        if isinstance(stage.objective, nn.Module) and next(stage.objective.parameters(), None) is not None:
            raise TrainingError(f"the objective of stage {stage.name!r} holds parameters; put them into the model")
        self.model = model
        self._stage = (stage,)  # in a tuple, so that an objective that is a module is not registered

    def forward(self, sealed: _Sealed) -> dict[str, Tensor]:
        """Compute the losses, each one number in float32."""
        (stage,) = self._stage
        device = next(self.model.parameters()).device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=stage.precision == "bf16-mixed"):
            losses = checked_losses(stage.objective(self.model, sealed.batch), f"stage {stage.name!r}")
        return {name: value.float().reshape(()) for name, value in losses.items()}


class StageStep:
    """One optimizer step of a stage. Freezes all other parameters, creates the optimizer, wraps the model."""

    def __init__(
        self, fabric: Fabric, model: nn.Module, stage: Stage, *, step: int = 0, exit_state: dict[str, Any] | None = None
    ) -> None:
        self.fabric = fabric
        self.stage = stage
        self.passes = stage.trainable(model)
        self._step = step
        self._has_data = {p.name: p.has_data for p in stage.passes}
        self.exits = None if stage.early_exit is None else ExitState(stage.early_exit, self.passes, exit_state)
        trainable = {name for names in self.passes.values() for name in names}
        self.parameters = {name: p for name, p in model.named_parameters() if name in trainable}
        check_trainable_dtypes(self.parameters, stage.name)
        freeze(model, trainable)
        set_modes(model)
        self.raw_optimizer = make_optimizer(self.parameters, stage.optimizer)
        self.module, self.optimizer = fabric.setup(TrainStep(model, stage), self.raw_optimizer)

    def __call__(self, micro_batches: Sequence[MicroBatch], lr_factor: float) -> dict[str, float]:
        """Run the passes with data; return losses averaged over the step, gradient norms and the learning rate.

        `loss` is the mean over the passes, NaN if none had data.

        Raises:
            TrainingError: a loss or gradient is not finite; nothing of that pass was updated.
        """
        lr = self.stage.optimizer.lr * lr_factor
        for group in self.raw_optimizer.param_groups:
            group["lr"] = lr
        shares = step_shares(self.stage.objective, micro_batches, self.fabric.world_size, self._total)
        rows = {name: self._update(name, micro_batches, shares) for name in self._passes_with_data(micro_batches)}
        if self.exits is not None:
            self.exits.observe({name: row["gauge"] for name, row in rows.items()}, self._step)
        self._step += 1
        return {"lr": lr, **self._report(rows)}

    @property
    def is_done(self) -> bool:
        """Whether all passes have ended."""
        return self.exits is not None and not self.exits.active

    def _passes_with_data(self, micro_batches: Sequence[MicroBatch]) -> list[str]:
        """Return the passes that train in this step, equal on all processes: those with data on any process."""
        active = list(self.passes) if self.exits is None else self.exits.active
        tests = {name: test for name in active if (test := self._has_data[name]) is not None}
        if not tests:
            return active
        here = [float(any(test(micro.batch) for micro in micro_batches)) for test in tests.values()]
        has_data = dict(zip(tests, self._total(here), strict=True))
        return [name for name in active if has_data.get(name, 1.0)]

    def _report(self, rows: dict[str, dict[str, float]]) -> dict[str, float]:
        """Build one row of numbers; a skipped pass has NaN, so that every step has the same columns."""
        if len(self.passes) == 1:
            return next(iter(rows.values()), {"loss": math.nan})
        loss = fmean(row["loss"] for row in rows.values()) if rows else math.nan
        keys = next(iter(rows.values()), {})
        waiting = list(self.passes) if self.exits is None else [*self.exits.active, *rows]
        named = {
            f"{name}/{key}": rows[name][key] if name in rows else math.nan
            for name in self.passes
            if name in waiting
            for key in keys
        }
        return {"loss": loss, **named}

    def _update(self, name: str, micro_batches: Sequence[MicroBatch], shares: Sequence[Shares]) -> dict[str, float]:
        values, losses = self._backward(micro_batches, shares)
        active = set(self.passes[name])
        for parameter_name, parameter in self.parameters.items():
            if parameter_name not in active:
                parameter.grad = None
        gauge = {} if self.exits is None else {"gauge": self._gauge(name)}
        limit = self.stage.optimizer.clip_norm or math.inf
        norm = self.fabric.clip_gradients(self.module, self.optimizer, max_norm=limit, error_if_nonfinite=False)
        assert norm is not None
        row = self._averaged({**values, "grad_norm": norm, **gauge})
        try:
            examples = [micro.indices for micro in micro_batches]
            check_finite(
                row, [float(loss) for loss in losses], examples, precision=self._precision(), where=f"pass {name!r}"
            )
        except TrainingError:
            self.optimizer.zero_grad()
            raise
        self.optimizer.step()
        self.optimizer.zero_grad()
        return row

    def _precision(self) -> str:
        if self.stage.precision != "32-true":
            return self.stage.precision
        return str(next(iter(self.parameters.values())).dtype).removeprefix("torch.")

    def _gauge(self, name: str) -> Tensor:
        """Compute the norm of the gradients of a pass's measured parameters, before clipping."""
        assert self.stage.early_exit is not None
        where = f"early exit of pass {name!r} in stage {self.stage.name!r}"
        measured = match_parameters(self.passes[name], self.stage.early_exit.measured, where)
        grads = [grad for key in measured if (grad := self.parameters[key].grad) is not None]
        device = next(iter(self.parameters.values())).device
        return torch.cat([grad.flatten().float() for grad in grads]).norm() if grads else torch.zeros((), device=device)

    def _backward(
        self, micro_batches: Sequence[MicroBatch], shares: Sequence[Shares]
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Compute the gradients of the step's mean; return this process's part of the mean values, and its losses."""
        sums: dict[str, Tensor] = {}
        seen: list[Tensor] = []
        for i, (micro, share) in enumerate(zip(micro_batches, shares, strict=True)):
            waits = i < len(micro_batches) - 1 and self.fabric.world_size > 1
            with self.fabric.no_backward_sync(self.module) if waits else nullcontext():
                losses = self.module(_Sealed(self.fabric.to_device(micro.batch)))
                if not losses["loss"].requires_grad:
                    raise TrainingError("the loss depends on no trainable parameter; check the passes of the stage")
                loss = share.loss(losses)
                self.fabric.backward(loss)
            for key, value in losses.items():
                part = loss if key == "loss" else share.part(key, value)
                sums[key] = sums.get(key, 0) + part.detach()
            seen.append(losses["loss"].detach())
        return sums, seen

    def _total(self, numbers: Sequence[float]) -> Sequence[float]:
        """Sum numbers over all processes."""
        if self.fabric.world_size == 1:
            return numbers
        summed: Any = self.fabric.all_reduce(
            torch.tensor(numbers, dtype=torch.float64, device=self.fabric.device), reduce_op="sum"
        )
        return summed.tolist()

    def _averaged(self, values: dict[str, Tensor]) -> dict[str, float]:
        """Average numbers over all processes, so that all continue or all stop."""
        keys = sorted(values, key=lambda key: (key != "loss", key))
        numbers = torch.stack([values[key].to(torch.float32) for key in keys])
        reduced: Any = self.fabric.all_reduce(numbers, reduce_op="mean") if self.fabric.world_size > 1 else numbers
        return dict(zip(keys, reduced.tolist(), strict=True))


def make_optimizer(parameters: dict[str, nn.Parameter], settings: AdamWSettings) -> torch.optim.AdamW:
    """Create AdamW over named parameters in two groups: with and without weight decay."""
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


def freeze(model: nn.Module, trainable: set[str]) -> None:
    """Set `requires_grad` exactly for the parameters in `trainable`, and clear all gradients."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trainable)
        parameter.grad = None


def set_modes(module: nn.Module) -> None:
    """Set training mode, except for modules with only frozen parameters (whose dropout and norms must not change)."""
    parameters = list(module.parameters())
    if parameters and not any(p.requires_grad for p in parameters):
        module.eval()
        return
    module.training = True
    for child in module.children():
        set_modes(child)


def seed_step(seed: int, stage: int, step: int, rank: int) -> None:
    """Seed Python, numpy and torch for one step.

    Every step begins from its own seed, so that a resumed run needs no generator states, and nothing between two steps
    (evaluation, logging, an interruption) can change later steps.
    """
    number = int.from_bytes(blake2b(f"{seed}:{stage}:{step}:{rank}".encode(), digest_size=8).digest(), "little")
    random.seed(number)
    np.random.seed(number & 0xFFFFFFFF)
    torch.manual_seed(number)
