"""One step over examples of unequal length in a process of its own: ``gradient_child.py OUT DEVICES MICRO_BATCHES``."""

import sys

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidweave.training import AdamWSettings, Run, Stage, train
from vidweave.types import MeanOver

LENGTHS = (1, 7, 2, 5, 1, 1, 6, 3, 4, 1, 9, 2)


class TokenLoss:
    """A mean over all tokens of a batch."""

    def means(self, batch: list[tuple[Tensor, Tensor]]) -> dict[str, MeanOver]:
        return {"loss": MeanOver(sum(len(labels) for _, labels in batch))}

    def __call__(self, model: nn.Module, batch: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        x, labels = (torch.cat(parts) for parts in zip(*batch, strict=True))
        return {"loss": functional.cross_entropy(model(x), labels)}


class Rows:
    def __len__(self) -> int:
        return len(LENGTHS)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(index)
        size = LENGTHS[index]
        return torch.randn(size, 3, generator=generator), torch.randint(0, 2, (size,), generator=generator)


def main(out: str, devices: str, accumulate: str) -> None:
    torch.manual_seed(0)
    stage = Stage(
        name="one",
        objective=TokenLoss(),
        examples=Rows(),
        collate=list,
        steps=1,
        batch_size=len(LENGTHS),
        accumulate=int(accumulate),
        optimizer=AdamWSettings(clip_norm=None),
    )
    run = Run(name="gradient", model=nn.Linear(3, 2), stages=[stage], seed=5)
    train(run, out, devices=int(devices), has_events=False, has_progress=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
