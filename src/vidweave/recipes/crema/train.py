"""CREMA's training: fine-tuning on SQA3D, MUSIC-AVQA, NExT-QA, Touch-QA or Thermal-QA, or pre-training of one modality's
adapter set (`dataset=audiocaps` for audio, `dataset=3d-llm` for points).

    vidweave train crema/train --out runs/sqa3d start=./crema-start dataset=sqa3d annotations=SQA_train.json media=./sqa3d

`start` is a folder of `vidweave convert crema`; all of its modalities are trained, or those of `modalities=video,depth`. One
pass per modality per batch trains its port and the fusion (`sequential=False`: all in one pass); a modality that no clip
of a batch has is skipped. Learning rates, epochs and the
temperature of early exit default to the released ones (`systems/crema/published.json`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import vidweave
from vidweave.data.schema import Example
from vidweave.errors import ConfigError, ModalityError, UnknownNameError
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.processor import Processor
from vidweave.systems.crema.wording import WORDINGS, CremaExamples
from vidweave.training import AdamWSettings, AnswerLoss, EarlyExit, HasStream, Pass, Run, Schedule, Stage
from vidweave.training.batches import default_workers
from vidweave.types import ModelInputs

__all__ = ["Settings", "check_counts", "count_modalities", "passes", "recipe"]

_LOG = logging.getLogger("vidweave.training")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Attributes:
    start: Folder of the model to train.
    modalities: Modalities to train, separated by commas; empty trains all of `start`.
    annotations, media: The data set's file and the folder of its media.
    batch_size, epochs, lr: 0 uses the released ones.
    exit_temperature: 0 is no early exit, -1 the released one.
    exit_statistic: `last` reproduces the released code.
    held_out: Share of the examples held out of training; their loss is logged after each epoch.
    workers: Spawned processes that prepare batches ahead; None: 2 on a machine with at least 4 CPU cores, else 0.
    """

    start: str = ""
    dataset: str = "sqa3d"
    modalities: str = ""
    annotations: str = ""
    media: str = ""
    sequential: bool = True
    batch_size: int = 0
    epochs: int = 0
    lr: float = 0.0
    exit_temperature: float = 0.0
    exit_statistic: str = "epoch_mean"
    held_out: float = 0.02
    workers: int | None = None
    seed: int = 42


def recipe(**overrides: Any) -> Run:
    """Build the run; its model is `start`, and the trained model is written to `<out>/model`."""
    s = Settings(**overrides)
    if not (s.start and s.annotations and s.media):
        raise ConfigError("give start=FOLDER, annotations=FILE and media=FOLDER")
    released = _released(s.dataset)
    model = vidweave.load(s.start).model
    streams = list(model.spec.connector_streams)
    trained = _requested(s.modalities, streams)
    examples = list(CremaExamples(s.dataset, s.annotations, s.media, streams))
    held_out = int(len(examples) * s.held_out)
    training = examples[: len(examples) - held_out]
    check_counts(count_modalities(training, trained), s.dataset, s.annotations)
    batch = min(s.batch_size or released["batch_per_gpu"], len(training))
    steps, epochs = len(training) // batch, s.epochs or released["epochs"]
    lr = s.lr or released["lr"]
    temperature = released["temperature"] if s.exit_temperature < 0 else s.exit_temperature
    stage = Stage(
        name=s.dataset,
        objective=AnswerLoss(),
        examples=training,
        collate=partial(_collate, model.processor),
        loader_workers=default_workers() if s.workers is None else s.workers,
        steps=steps * epochs,
        batch_size=batch,
        passes=passes(model, trained, sequential=s.sequential),
        optimizer=AdamWSettings(lr=lr, weight_decay=0.05, clip_norm=None, no_decay=("*bias*", "*norm[!a]*")),
        schedule=schedule_of(s.dataset, steps=steps, epochs=epochs, lr=lr),
        early_exit=EarlyExit(steps_per_epoch=steps, temperature=temperature, statistic=s.exit_statistic)  # type: ignore[arg-type]
        if temperature
        else None,
        evaluate=partial(_held_out_loss, model.processor, examples[len(training) :], batch) if held_out else None,
        evaluate_every=steps if held_out else 0,
    )
    return Run(name=f"crema-{s.dataset}", model=model, stages=[stage], seed=s.seed, config=asdict(s), finish=_finish)


def schedule_of(dataset: str, *, steps: int, epochs: int, lr: float) -> Schedule:
    """Build the released schedule of a data set: one rate per epoch of `steps`, after a warm-up by step in the first."""
    released = _released(dataset)
    return Schedule(
        "epochs",
        num_epochs=epochs,
        steps_per_epoch=steps,
        warmup_steps=released["warmup_steps"],
        min_lr_ratio=released["min_lr"] / lr,
        start_ratio=released["warmup_lr"] / lr,
    )


def passes(model: VideoLanguageModel, streams: Sequence[str], *, sequential: bool) -> list[Pass]:
    """Train the port of each modality, and the fusion if there is one; everything else is frozen."""
    fusion = ("connector.fusion.*",) if any(True for _ in model.connector.fusion.parameters()) else ()
    ports = {name: f"connector.ports.{name}.*" for name in streams}
    if not sequential:
        return [Pass("all", (*ports.values(), *fusion))]
    return [Pass(name, (port, *fusion), HasStream(name)) for name, port in ports.items()]


def _requested(modalities: str, streams: Sequence[str]) -> list[str]:
    names = [name.strip() for name in modalities.split(",") if name.strip()]
    for name in names:
        if name not in streams:
            raise UnknownNameError("modality of this model", name, streams)
    return [name for name in streams if name in names] if names else list(streams)


def count_modalities(examples: Sequence[Example], modalities: Sequence[str]) -> dict[str, int]:
    """Count the examples that have each modality."""
    return {name: sum(name in example.query.scenes[0].clip for example in examples) for name in modalities}


def check_counts(counts: Mapping[str, int], dataset: str, annotations: str) -> None:
    """Log the number of examples per modality; raise ModalityError for a modality without examples."""
    _LOG.info("%s: examples per modality: %s", dataset, ", ".join(f"{name} {n}" for name, n in counts.items()))
    lacking = [name for name, count in counts.items() if not count]
    if lacking:
        rest = ",".join(name for name in counts if name not in lacking)
        raise ModalityError(
            f"no example of {dataset} ({annotations}) has {', '.join(lacking)}; put the files where "
            f"systems/crema/README.md says, or train without: modalities={rest}"
        )


def _released(dataset: str) -> dict[str, Any]:
    if dataset not in WORDINGS:
        raise UnknownNameError("data set of CREMA", dataset, WORDINGS)
    file = resources.files("vidweave.systems.crema") / "published.json"
    return json.loads(file.read_text())["training"][dataset]


def _collate(processor: Processor, rows: Sequence[Example]) -> ModelInputs:
    return processor([example.query for example in rows], targets=[example.answer for example in rows])


def _held_out_loss(
    processor: Processor, rows: Sequence[Example], batch: int, model: VideoLanguageModel, step: int
) -> dict[str, float]:
    parts = [_collate(processor, rows[first : first + batch]) for first in range(0, len(rows), batch)]
    losses = [float(model(part).loss) * part.num_target_tokens for part in parts]
    return {"held_out_loss": sum(losses) / sum(part.num_target_tokens for part in parts)}


def _finish(model: VideoLanguageModel, out: Path) -> dict[str, str]:
    """Write the whole model, independent of the parameters trained last."""
    model.save_pretrained(out / "model")
    return {"model": str(out / "model")}
