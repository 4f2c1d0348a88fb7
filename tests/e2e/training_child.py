"""A small run in a process of its own, to be killed: ``training_child.py OUT [devices] [size] [batch] [pause]``."""

import sys
import time

import torch
from torch import Tensor, nn

from vidweave.training import AdamWSettings, Pass, Run, Stage, train


class Net(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.tower = nn.Sequential(nn.Linear(5, 16), nn.GELU(), nn.Dropout(dropout))
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.tower(x))


class Data:
    def __init__(self, size: int, pause: float) -> None:
        self.size = size
        self.pause = pause

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        time.sleep(self.pause)
        x = torch.randn(5, generator=torch.Generator().manual_seed(index))
        return x, (x.sum() > 0).long() + (x[0] > 0).long()


def cross_entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    x, y = batch
    logits = model(x)
    return {"loss": nn.functional.cross_entropy(logits, y), "accuracy": (logits.argmax(-1) == y).float().mean()}


def stack(examples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    x, y = zip(*examples, strict=True)
    return torch.stack(x), torch.stack(y)


def main(out: str, devices: int = 1, size: int = 53, batch: int = 4, pause: float = 0.0) -> None:
    torch.manual_seed(0)
    dropout = 0.2 if devices == 1 and batch == 4 else 0.0  # each process draws its own dropout
    shared = {"objective": cross_entropy, "examples": Data(size, pause), "collate": stack, "batch_size": batch}
    optimizer = AdamWSettings(lr=1e-2)
    passes = (Pass("tower", ("tower.*",)), Pass("head", ("head.*",)))
    stages = (
        Stage(name="joint", steps=25, optimizer=optimizer, **shared),
        Stage(name="passes", steps=30, optimizer=optimizer, passes=passes, loader_threads=1, **shared),
    )
    run = Run(name="child", model=Net(dropout), stages=stages, seed=11)
    train(run, out, devices=devices, checkpoint_every=2, has_events=False, has_progress=False)


if __name__ == "__main__":
    kinds = (str, int, int, int, float)
    main(*(kind(text) for kind, text in zip(kinds, sys.argv[1:], strict=False)))
