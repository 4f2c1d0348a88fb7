from dataclasses import dataclass, field
from typing import Literal

import pytest
import torch

from vidweave.errors import ConfigError, UnknownNameError
from vidweave.training import AdamWSettings, override, recipe_run

_RECIPE = """
from dataclasses import dataclass, field

import torch

from vidweave.training import AdamWSettings, Run, Stage


@dataclass(frozen=True, kw_only=True)
class Settings:
    seed: int = 4
    steps: int = 7
    optimizer: AdamWSettings = field(default_factory=AdamWSettings)


def recipe(**overrides):
    settings = Settings(**overrides)
    stage = Stage(
        name="only",
        objective=lambda model, batch: {"loss": model(batch).sum()},
        examples=[torch.ones(3)] * 5,
        collate=torch.stack,
        steps=settings.steps,
        batch_size=2,
        optimizer=settings.optimizer,
    )
    return Run(name="x", model=torch.nn.Linear(3, 1), stages=[stage], seed=settings.seed, config=settings)
"""


@dataclass(frozen=True, kw_only=True)
class _Settings:
    count: int = 1
    rate: float = 0.1
    name: str = "a"
    flag: bool = False
    kind: Literal["x", "y"] = "x"
    limit: float | None = 1.0
    sizes: tuple[int, ...] = (1,)
    optimizer: AdamWSettings = field(default_factory=AdamWSettings)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("count=3", "count", 3),
        ("rate=1e-3", "rate", 0.001),
        ("rate=2", "rate", 2.0),
        ("name=7", "name", "7"),
        ("name=a=b", "name", "a=b"),
        ("flag=True", "flag", True),
        ("kind=y", "kind", "y"),
        ("limit=None", "limit", None),
        ("sizes=[3, 5]", "sizes", (3, 5)),
    ],
)
def test_overrides_take_the_type_of_their_field(text, name, value):
    got = getattr(override(_Settings(), [text]), name)
    assert got == value
    assert type(got) is type(value)


def test_overrides_reach_inside():
    assert override(_Settings(), ["optimizer.lr=0.5", "optimizer.eps=1e-6"]).optimizer == AdamWSettings(
        lr=0.5, eps=1e-6
    )


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("cuont=3", UnknownNameError, r"unknown field of _Settings 'cuont'; did you mean 'count'"),
        ("optimizer.lrr=3", UnknownNameError, r"field of _Settings.optimizer 'lrr'; did you mean 'lr'"),
        ("count=x", ConfigError, r"_Settings.count must be int, got 'x'"),
        ("count=1.5", ConfigError, r"_Settings.count must be int, got 1.5"),
        ("flag=1", ConfigError, r"_Settings.flag must be bool, got 1"),
        ("kind=z", ConfigError, r"_Settings.kind must be one of 'x', 'y', got 'z'"),
        ("count.x=1", ConfigError, r"_Settings.count has no fields; write count=value"),
        ("count", ConfigError, r"'count' is not an override; write key=value"),
        ("optimizer.lr=-1", ConfigError, r"lr > 0"),
    ],
)
def test_bad_overrides_are_reported(text, error, message):
    with pytest.raises(error, match=message):
        override(_Settings(), [text])


def test_a_recipe_file_makes_the_same_run_each_time(tmp_path):
    path = tmp_path / "base.py"
    path.write_text(_RECIPE)
    run = recipe_run(path, ["steps=3", "optimizer.lr=0.25"])
    torch.rand(5)
    again = recipe_run(path, ["steps=3", "optimizer.lr=0.25"])
    assert (run.stages[0].steps, run.stages[0].optimizer.lr, run.seed) == (3, 0.25, 4)
    assert torch.equal(run.model.weight, again.model.weight)
    assert not torch.equal(run.model.weight, recipe_run(path, ["seed=5"]).model.weight)


def test_files_that_are_no_recipe_are_reported(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no recipe file .*nothing.py; give the path of a Python file"):
        recipe_run(tmp_path / "nothing.py")
    (tmp_path / "text.txt").write_text("hello")
    with pytest.raises(ConfigError, match=r"text.txt is not a Python file; a recipe ends in .py"):
        recipe_run(tmp_path / "text.txt")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(
        ConfigError, match=r"empty.py must define recipe\(\*\*overrides\) and a frozen dataclass Settings"
    ):
        recipe_run(tmp_path / "empty.py")
    (tmp_path / "none.py").write_text(_RECIPE.replace("return Run(", "dict("))
    with pytest.raises(ConfigError, match=r"recipe\(\) in .* must return a vidweave.training.Run, got NoneType"):
        recipe_run(tmp_path / "none.py")
