"""A tiny model and tiny data for the tests of training."""

import torch
from torch import Tensor, nn

from vidweave.training import AdamWSettings, Run, Stage


class TinyNet(nn.Module):
    """(B, 3) → (B, 2), with a tower to freeze, dropout, and a norm with running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(nn.Linear(3, 7), nn.BatchNorm1d(7), nn.Dropout(0.2))
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(torch.relu(self.tower(x))))


class TinyData:
    """Example i is drawn with seed i; targets are linear in the input."""

    def __init__(self, size: int = 37) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(3, generator=torch.Generator().manual_seed(index))
        return x, torch.stack([x.sum(), 2 * x[0]])


def squared_error(model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    x, y = batch
    error = (model(x) - y).pow(2).mean()
    return {"loss": error, "rmse": error.detach().sqrt()}


def stack(examples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    x, y = zip(*examples, strict=True)
    return torch.stack(x), torch.stack(y)


def tiny_stage(**changes) -> Stage:
    settings = {
        "name": "only",
        "objective": squared_error,
        "examples": TinyData(),
        "collate": stack,
        "steps": 12,
        "batch_size": 5,
        "optimizer": AdamWSettings(lr=1e-2),
    }
    return Stage(**{**settings, **changes})


def tiny_run(*stages: Stage, seed: int = 3, **changes) -> Run:
    torch.manual_seed(seed)
    return Run(**{"name": "tiny", "model": TinyNet(), "stages": stages or (tiny_stage(),), "seed": seed, **changes})
