"""Training objectives: callables ``(model, batch) -> {"loss", ...parts}``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vidweave.errors import ConfigError, TrainingError
from vidweave.types import DeclaresMeans, MeanOver, ModelInputs

if TYPE_CHECKING:
    from torch import Tensor

    from vidweave.types import Objective

__all__ = ["AnswerLoss", "GroundedAnswerLoss", "SpanLoss", "WeightedSum", "checked_losses", "declared_means"]


@dataclass(frozen=True)
class AnswerLoss:
    """Loss returned by the model for a batch with targets (``model(batch).loss``).

    It is a mean over target tokens if the batch is `ModelInputs`, else over examples.
    """

    def means(self, batch: Any) -> dict[str, MeanOver]:
        """Terms of the loss, see `Objective`."""
        return {"loss": _over_tokens(batch)}

    def __call__(self, model: Any, batch: Any) -> dict[str, Tensor]:
        output = model(batch)
        loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
        if loss is None:
            raise TrainingError("the model returned no loss; give the batch its targets")
        return {"loss": loss}


@dataclass(frozen=True)
class SpanLoss:
    """Loss of the selector's spans against those of the batch; no other part of the model runs.

    A batch is `SelectorInputs`, or `ModelInputs` that contain them, with `target_spans`. The loss is a mean over spans.
    """

    def means(self, batch: Any) -> dict[str, MeanOver]:
        """Terms of the loss, see `Objective`."""
        return {"loss": _over_spans(_selector_inputs(batch))}

    def __call__(self, model: Any, batch: Any) -> dict[str, Tensor]:
        selector_inputs = _selector_inputs(batch)
        return {"loss": _span_loss(model, model.choose(selector_inputs, _step_generator()), selector_inputs)}


@dataclass(frozen=True)
class GroundedAnswerLoss:
    """Loss of the answer and of the selector in one pass: joint training of both.

    If the selector mixes its candidates (`train_through`), the answer's loss also reaches it.

    Attributes:
        span_weight: Weight of the selector's loss added to the answer's; 0 trains only with the answer.
    """

    span_weight: float = 1.0

    def means(self, batch: Any) -> dict[str, MeanOver]:
        """Terms of the loss, see `Objective`."""
        answer = {"answer": _over_tokens(batch)}
        return {**answer, "spans": _over_spans(batch.selector_inputs, self.span_weight)} if self.span_weight else answer

    def __call__(self, model: Any, batch: Any) -> dict[str, Tensor]:
        output = model(batch, generator=_step_generator())
        if output.loss is None:
            raise TrainingError("the model returned no loss; give the batch its targets")
        if not self.span_weight:
            return {"loss": output.loss, "answer": output.loss}
        spans = _span_loss(model, output.selection, batch.selector_inputs)
        return {"loss": output.loss + self.span_weight * spans, "answer": output.loss, "spans": spans}


def _selector_inputs(batch: Any) -> Any:
    return batch.selector_inputs if isinstance(batch, ModelInputs) else batch


def _over_tokens(batch: Any) -> MeanOver:
    return MeanOver(batch.num_target_tokens) if isinstance(batch, ModelInputs) else MeanOver()


def _over_spans(selector_inputs: Any, weight: float = 1.0) -> MeanOver:
    """Mark existing spans of rows with motion; others are not trained on."""
    if selector_inputs is None or selector_inputs.target_spans is None:
        return MeanOver(weight=weight)  # the loss will raise
    is_there = ~selector_inputs.target_spans.isnan().any(-1)
    if selector_inputs.motion is not None:
        is_there = is_there & selector_inputs.motion.has_steps()[:, None].to(is_there.device)
    return MeanOver(int(is_there.sum()), weight)


def _span_loss(model: Any, selection: Any, selector_inputs: Any) -> Tensor:
    if selector_inputs is None or selector_inputs.target_spans is None:
        raise TrainingError("the batch has no target_spans; fetch it with them, or train without the span loss")
    return model.selector.loss(selection, selector_inputs.target_spans.to(selection.seconds.device))


def _step_generator() -> Any:
    """Create a generator from the seed of this step, so that a resumed run draws the same numbers."""
    import torch

    return torch.Generator().manual_seed(int(torch.randint(2**62, ())))


@dataclass(frozen=True)
class WeightedSum:
    """Weighted sum of objectives: name → (weight, objective). Parts are logged as `name` and `name/part`."""

    terms: Mapping[str, tuple[float, Objective]]

    def __post_init__(self) -> None:
        if not self.terms:
            raise ConfigError("a weighted sum needs at least one objective")

    def means(self, batch: Any) -> dict[str, MeanOver]:
        """Terms of the loss, see `Objective`."""
        return {
            name if part == "loss" else f"{name}/{part}": MeanOver(mean.count, weight * mean.weight)
            for name, (weight, objective) in self.terms.items()
            for part, mean in declared_means(objective, batch).items()
        }

    def __call__(self, model: Any, batch: Any) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        total: Any = 0
        for name, (weight, objective) in self.terms.items():
            parts = dict(checked_losses(objective(model, batch), name))
            losses[name] = parts.pop("loss")
            losses.update({f"{name}/{part}": value for part, value in parts.items()})
            total = total + weight * losses[name]
        return {"loss": total, **losses}


def declared_means(objective: Any, batch: Any) -> dict[str, MeanOver]:
    """Return the terms of the objective's loss for `batch`; an objective without `means` is one mean over examples."""
    return dict(objective.means(batch)) if isinstance(objective, DeclaresMeans) else {"loss": MeanOver()}


def checked_losses(losses: Any, where: str) -> Mapping[str, Tensor]:
    """Return `losses`; raise TrainingError unless it is a mapping of scalars with a `loss`."""
    if not isinstance(losses, Mapping) or "loss" not in losses:
        got = sorted(losses) if isinstance(losses, Mapping) else type(losses).__name__
        raise TrainingError(f"the objective of {where} must return a mapping with 'loss', got {got}")
    for name, value in losses.items():
        if value.numel() != 1:
            raise TrainingError(f"{name!r} of {where} must be one number, got shape {tuple(value.shape)}; average it")
    return losses
