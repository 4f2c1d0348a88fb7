"""Training: stages and passes over any module, on Lightning Fabric (extra `train`).

A run is ``Run(name, model, stages)``; a stage has an objective ``(model, batch) -> {"loss", ...}``, map-style examples
and one or more passes that name the trainable parameters. ``train(run, out)`` resumes by itself.
"""

from vidweave.training.early_exit import EarlyExit
from vidweave.training.loop import TrainResult, train
from vidweave.training.objectives import AnswerLoss, GroundedAnswerLoss, SpanLoss, WeightedSum
from vidweave.training.recipe import load_recipe, override, recipe_run
from vidweave.training.sampler import Sampler
from vidweave.training.schedule import Schedule
from vidweave.training.stages import AdamWSettings, Examples, HasStream, Pass, Run, Stage

__all__ = [
    "AdamWSettings",
    "AnswerLoss",
    "EarlyExit",
    "Examples",
    "GroundedAnswerLoss",
    "HasStream",
    "Pass",
    "Run",
    "Sampler",
    "Schedule",
    "SpanLoss",
    "Stage",
    "TrainResult",
    "WeightedSum",
    "load_recipe",
    "override",
    "recipe_run",
    "train",
]
