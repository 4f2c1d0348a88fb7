"""Benchmark of sequential training of modalities with early exit, compared with joint training, over several seeds.

    python -m benchmarks.sequential [--seeds 5] [--steps 60] [--temperatures 1.8 1.0] [--json FILE]

tiny-crema's language model is given and frozen; ports and fusion of three modalities start untrained (the recipe `tiny/crema`)
and are trained on questions about clips that have any of them. `joint`: one update of all per batch. `sequential`: one update
of each modality per batch, of its own parameters alone, until its gradient norm exceeds (CREMA, 3.2 and 3.3) its mean times
the temperature. Prints JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file

from benchmarks.claims.crema import encoded
from vidweave.data.toyworld import ToyQuestions
from vidweave.model.assets import asset_folder
from vidweave.model.growth import parameters_of
from vidweave.pipelines.slot import SlotPipeline
from vidweave.recipes.tiny.crema import Settings
from vidweave.recipes.tiny.crema_parts.clips import Clips, collate, load_all
from vidweave.recipes.tiny.crema_parts.initialization import initial_model
from vidweave.recipes.tiny.crema_parts.objectives import AnswersWithVectors, CremaRoot
from vidweave.training import AdamWSettings, EarlyExit, Pass, Run, Schedule, Stage
from vidweave.training.loop import train

MODALITIES = {"depth": "distance", "thermal": "temperature", "flow": "spin"}
"""Modality → the question type that needs it."""
LANGUAGE = "tiny-crema-llama"
STEPS_PER_EPOCH = 4
load_modalities = partial(load_all, modalities=tuple(MODALITIES))


def new_root(seed: int) -> CremaRoot:
    """Initialize ports and fusion for a training seed, with the frozen parts."""
    torch.manual_seed(seed)
    root = CremaRoot(initial_model(Settings().rank, LANGUAGE))
    folder = asset_folder(LANGUAGE)
    assert folder is not None, f"{LANGUAGE} is shipped"
    root.codes.vectors.data = load_file(folder / "codes.safetensors")["vectors"].float() / root.codes.scale
    return root


def new_run(
    root: CremaRoot, clips: Clips, seed: int, steps: int, *, temperature: float | None, clips_per_step: int = 16
) -> Run:
    """Build joint training, or (with a temperature) sequential training with early exit."""
    own = {name: tuple(f"model.{p}" for p in parameters_of(root.model, name)) for name in MODALITIES}
    alone = [Pass(name, parameters) for name, parameters in own.items()]
    joint = [Pass("all", tuple(name for names in own.values() for name in names))]
    rule = None if temperature is None else EarlyExit(steps_per_epoch=STEPS_PER_EPOCH, temperature=temperature)
    stage = Stage(
        name="answers",
        objective=AnswersWithVectors(),
        examples=partial(clips, list(MODALITIES.values()), 2),
        collate=partial(collate, root.model.processor, 100, 0.0),
        steps=steps,
        batch_size=clips_per_step,
        passes=joint if rule is None else alone,
        optimizer=AdamWSettings(lr=2e-3, weight_decay=0.01, betas=(0.9, 0.98)),
        schedule=Schedule("cosine", warmup_steps=5, min_lr_ratio=0.05),
        early_exit=rule,
    )
    return Run(name="sequential", model=root, stages=[stage], seed=seed)


def questions(root: CremaRoot, examples: int) -> ToyQuestions:
    """Draw questions of unseen scenes, with the three modalities, which are encoded once."""
    return ToyQuestions(
        811,
        examples,
        question_types=list(MODALITIES.values()),
        modalities=("video", *MODALITIES),
        form=partial(encoded, root.model),
        kept=examples * len(MODALITIES),
    )


def accuracy(root: CremaRoot, items: ToyQuestions) -> float:
    """Compute the share of right answers."""
    model, right = root.model.eval(), 0
    for start in range(0, len(items), 64):
        batch = [items[i] for i in range(start, min(start + 64, len(items)))]
        answers = SlotPipeline(model).answer([example.query for example in batch], trace=False)
        right += sum(a.text == example.answer for a, example in zip(answers, batch, strict=True))
    return right / len(items)


def updates(log: Path) -> dict[str, int]:
    """Count the updates of each pass from the log of a stage (an exited pass writes nothing); a single one is `all`."""
    rows = list(csv.DictReader(log.read_text().splitlines()))
    named = [name for name in rows[0] if name.endswith("/loss")]
    if not named:
        return {"all": len(rows)}
    return {name.removesuffix("/loss"): sum(row[name] != "" for row in rows) for name in named}


def forms(temperatures: Sequence[float]) -> dict[str, float | None]:
    """Map each form to the temperature of its early exit."""
    return {"joint": None, **{f"sequential, exit at {t:g}": t for t in temperatures}}


def measure(
    seeds: Sequence[int], steps: int, compared: Mapping[str, float | None], *, clips: int, examples: int
) -> list[dict[str, Any]]:
    """Measure one row per seed and form."""
    root = new_root(0)
    source = Clips(clips, load_modalities)
    items = questions(root, examples)
    rows = []
    for seed in seeds:
        for form, rule in compared.items():
            root = new_root(seed)
            with TemporaryDirectory(prefix="vidweave-") as out:
                start = time.perf_counter()
                train(new_run(root, source, seed, steps, temperature=rule), out, has_progress=False, has_events=False)
                seconds = time.perf_counter() - start
                counts = updates(Path(out) / "logs" / "answers.csv")
            row = {"seed": seed, "form": form, "updates": counts, "seconds": seconds, "accuracy": accuracy(root, items)}
            rows.append(row)
            print(json.dumps(row), flush=True)
    return rows


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Average over seeds per form: accuracy with its standard deviation, updates per modality, seconds."""
    means = {}
    for form in dict.fromkeys(row["form"] for row in rows):
        mine = [row for row in rows if row["form"] == form]
        scores = [row["accuracy"] for row in mine]
        means[form] = {
            "accuracy": statistics.mean(scores),
            "accuracy_deviation": statistics.stdev(scores) if len(scores) > 1 else 0.0,
            "updates_per_modality": statistics.mean(statistics.mean(row["updates"].values()) for row in mine),
            "seconds": statistics.mean(row["seconds"] for row in mine),
        }
    return means


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument(
        "--temperatures", type=float, nargs="+", default=[1.8, 1.0], help="temperatures of the early exit"
    )
    parser.add_argument("--clips", type=int, default=400, help="number of training clips")
    parser.add_argument("--examples", type=int, default=60, help="examples per question type")
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    arguments = parser.parse_args()
    rows = measure(
        range(arguments.seeds),
        arguments.steps,
        forms(arguments.temperatures),
        clips=arguments.clips,
        examples=arguments.examples,
    )
    text = json.dumps({"rows": rows, "means": summary(rows)}, indent=1)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
