"""Fine-tune any model of ours on your own questions, or on a registered data set.

    vidweave train finetune model=my-model data=train.jsonl val=val.jsonl --out runs/mine
    vidweave ask clip.mp4 "What happens?" --model runs/mine/model

`data` and `val` are what `vidweave evaluate` takes: files in the format of docs/datasets.md, conversations, or with
`dataset=NAME` the files of a registered data set (`media` is its media root). Several files are separated by commas; `weights`
says how often each is seen in an epoch. `stage` chooses what is trained:

- `connector`: the connector alone; encoders and language model stay as they are.
- `lora`: adapters on the language model alone, also written as a PEFT adapter (`<out>/adapter`).
- `full`: the connector and the language model.

The trained model is the folder `<out>/model`, which holds everything. With `val`, the model is evaluated after each epoch
(or every `evaluate_every` steps) and the weights with the best `metric` are kept; `<out>/report.html` shows the curves and
what was answered.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

from vidweave.errors import ConfigError
from vidweave.pipelines.load import load, require_slots
from vidweave.recipes.finetune_parts.data import check_apart, mixture, read_examples
from vidweave.recipes.finetune_parts.outputs import finish
from vidweave.recipes.finetune_parts.parts import LEARNING_RATES, StageName, trainable_passes
from vidweave.recipes.finetune_parts.validation import Validation, collate
from vidweave.training import AdamWSettings, AnswerLoss, Run, Schedule, Stage
from vidweave.training.batches import default_workers
from vidweave.training.best import KeepBest

__all__ = ["Settings", "recipe"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Attributes:
    model: A name, folder or hub id that `vidweave.load` takes.
    data, val: Files with questions, separated by commas; `val` may be empty.
    dataset: Name of a registered data set that reads the files; empty is the format of own data.
    media: Folder of the media; empty is the folder of each file.
    weights: How often each file of `data` is seen per epoch, separated by commas; empty is once each.
    stage: What is trained: `connector`, `lora` or `full`.
    sequential: Train the port of each modality in a pass of its own, as CREMA does.
    epochs: Passes over the data, unless `steps` is given.
    lr: 0 is the default of the stage: 1e-3 connector, 2e-4 lora, 2e-5 full.
    rank, alpha: Of the LoRA adapters.
    metric: `accuracy` or `loss` on `val`; decides which weights are kept.
    patience: End after this many evaluations without improvement; 0 trains to the end.
    evaluate_every: Steps between evaluations; 0 is once per epoch.
    cache: Folder for the features of the frozen encoders, which are then computed once.
    precision: `32-true` or `bf16-mixed`.
    workers: Spawned processes that prepare batches ahead; None: 2 on a machine with at least 4 CPU cores, else 0.
    """

    model: str = ""
    data: str = ""
    val: str = ""
    dataset: str = ""
    media: str = ""
    weights: str = ""
    stage: StageName = "connector"
    sequential: bool = False
    epochs: int = 3
    steps: int = 0
    batch_size: int = 8
    accumulate: int = 1
    lr: float = 0.0
    warmup: float = 0.03
    weight_decay: float = 0.0
    rank: int = 16
    alpha: float = 32.0
    metric: Literal["accuracy", "loss"] = "accuracy"
    patience: int = 0
    evaluate_every: int = 0
    max_val: int = 1_000
    cache: str = ""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    workers: int | None = None
    seed: int = 0


def recipe(**overrides: Any) -> Run:
    """Build the run; the trained model is written to `<out>/model`."""
    s = Settings(**overrides)
    if not (s.model and s.data):
        raise ConfigError("give model=NAME_OR_FOLDER and data=FILE, e.g. model=tiny-base data=train.jsonl")
    parts = [read_examples(file, s.dataset, s.media) for file in _names(s.data)]
    training = mixture(parts, _numbers(s.weights), seed=s.seed)
    held_out = [example for file in _names(s.val) for example in read_examples(file, s.dataset, s.media)]
    check_apart(training, held_out)
    pipe = require_slots(load(s.model, cache_folder=s.cache or None), "the recipe finetune")
    passes = trainable_passes(pipe.model, s.stage, sequential=s.sequential, rank=s.rank, alpha=s.alpha)
    batch = min(s.batch_size, len(training))
    per_epoch = max(1, len(training) // batch)
    steps = s.steps or per_epoch * s.epochs
    validation = Validation(pipe, held_out[: s.max_val], batch)
    stage = Stage(
        name=s.stage,
        objective=AnswerLoss(),
        examples=training,
        collate=partial(collate, pipe.processor, pipe.cache),
        loader_workers=default_workers() if s.workers is None else s.workers,
        steps=steps,
        batch_size=batch,
        accumulate=s.accumulate,
        passes=passes,
        optimizer=AdamWSettings(lr=s.lr or LEARNING_RATES[s.stage], weight_decay=s.weight_decay),
        schedule=Schedule("warmup_cosine", warmup_steps=int(s.warmup * steps)),
        precision=s.precision,
        evaluate=validation if held_out else None,
        evaluate_every=(s.evaluate_every or per_epoch) if held_out else 0,
        keep_best=KeepBest(metric=s.metric, mode="min" if s.metric == "loss" else "max", patience=s.patience)
        if held_out
        else None,
    )
    return Run(
        name="finetune",
        model=pipe.model,
        stages=[stage],
        seed=s.seed,
        config=asdict(s),
        finish=partial(finish, pipe, s.stage, held_out[: s.max_val], asdict(s)),
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in _names(text)]
    except ValueError as error:
        raise ConfigError(f"weights must be numbers separated by commas, got {text!r}") from error
