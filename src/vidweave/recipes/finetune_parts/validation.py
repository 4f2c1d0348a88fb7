"""Batches of questions with answers, and the evaluation of a model on held-out ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vidweave.data.schema import Example
from vidweave.evaluation.metrics import is_correct
from vidweave.evaluation.runner import ask
from vidweave.model.cache import FeatureCache
from vidweave.model.processor import Processor
from vidweave.pipelines.slot import SlotPipeline
from vidweave.types import Answer, ModelInputs

__all__ = ["Validation", "collate"]


def collate(processor: Processor, cache: FeatureCache | None, rows: Sequence[Example]) -> ModelInputs:
    """Examples → inputs with their answers as targets."""
    return processor([row.query for row in rows], targets=[row.answer for row in rows], cache=cache)


@dataclass
class Validation:
    """Evaluate a pipeline on held-out examples: accuracy, and the loss of the answers per token.

    Attributes:
        answers: The last evaluation's answers, in the order of the examples.
    """

    pipe: SlotPipeline
    examples: Sequence[Example]
    batch_size: int
    answers: list[Answer] = field(default_factory=list)

    def __call__(self, model: Any, step: int = 0) -> dict[str, float]:
        """`accuracy` (options by score, other answers by normalized text) and `loss`."""
        self.answers, losses, tokens = [], 0.0, 0
        for first in range(0, len(self.examples), self.batch_size):
            rows = self.examples[first : first + self.batch_size]
            self.answers += ask(self.pipe, rows, {"trace": False})
            batch = collate(self.pipe.processor, self.pipe.cache, rows)
            losses += float(model(batch).loss.detach()) * batch.num_target_tokens
            tokens += batch.num_target_tokens
        return {"accuracy": sum(self.marks()) / len(self.examples), "loss": losses / tokens}

    def marks(self) -> list[bool]:
        """Whether each answer of the last evaluation is right."""
        pairs = zip(self.answers, self.examples, strict=True)
        return [any(is_correct(answer.text, accepted) for accepted in example.accepted) for answer, example in pairs]
