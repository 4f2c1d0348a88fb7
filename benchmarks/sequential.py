"""Training senses one after the other with early exit against training them jointly, over several training seeds.

    python -m benchmarks.sequential [--seeds 5] [--steps 60] [--temperatures 1.8 1.0] [--json FILE]

tiny-crema's language model is there and frozen; ports and fusion of three senses begin anew (the recipe `tiny/crema`) and
learn from questions about clips that have any of them. `joint`: one update of all per batch. `sequential`: one update of
each sense per batch, of its own parameters alone, until its gradients jump (CREMA, 3.2 and 3.3) above so many times their
mean, the temperature. Prints JSON.
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
"""Sense → the family of questions that needs it."""
LANGUAGE = "tiny-crema-llama"
STEPS_PER_EPOCH = 4
load_modalities = partial(load_all, modalities=tuple(MODALITIES))


def new_root(seed: int) -> CremaRoot:
    """Ports and fusion as they begin for a training seed, beside the frozen rest."""
    torch.manual_seed(seed)
    root = CremaRoot(initial_model(Settings().rank, LANGUAGE))
    folder = asset_folder(LANGUAGE)
    assert folder is not None, f"{LANGUAGE} is shipped"
    root.codes.vectors.data = load_file(folder / "codes.safetensors")["vectors"].float() / root.codes.scale
    return root


def new_run(
    root: CremaRoot, clips: Clips, seed: int, steps: int, *, temperature: float | None, clips_per_step: int = 16
) -> Run:
    """Joint training, or (with a temperature) sequential training with early exit."""
    own = {sense: tuple(f"model.{name}" for name in parameters_of(root.model, sense)) for sense in MODALITIES}
    alone = [Pass(sense, names) for sense, names in own.items()]
    joint = [Pass("all", tuple(name for names in own.values() for name in names))]
    rule = None if temperature is None else EarlyExit(steps_per_epoch=STEPS_PER_EPOCH, temperature=temperature)
    stage = Stage(
        name="answers",
        objective=AnswersWithVectors(),
        examples=partial(clips, list(MODALITIES.values()), 2),
        collate=partial(collate, root.model, 100, 0.0),
        steps=steps,
        batch_size=clips_per_step,
        passes=joint if rule is None else alone,
        optimizer=AdamWSettings(lr=2e-3, weight_decay=0.01, betas=(0.9, 0.98)),
        schedule=Schedule("cosine", warmup_steps=5, min_lr_ratio=0.05),
        early_exit=rule,
    )
    return Run(name="sequential", model=root, stages=[stage], seed=seed)


def questions(root: CremaRoot, examples: int) -> ToyQuestions:
    """Of unseen scenes, with the three senses, which are encoded once."""
    return ToyQuestions(
        811,
        examples,
        families=list(MODALITIES.values()),
        modalities=("video", *MODALITIES),
        form=partial(encoded, root.model),
        kept=examples * len(MODALITIES),
    )


def accuracy(root: CremaRoot, asked: ToyQuestions) -> float:
    """Share of right answers."""
    model, right = root.model.eval(), 0
    for start in range(0, len(asked), 64):
        batch = [asked[i] for i in range(start, min(start + 64, len(asked)))]
        answers = SlotPipeline(model).answer([example.query for example in batch], trace=False)
        right += sum(a.text == example.truth for a, example in zip(answers, batch, strict=True))
    return right / len(asked)


def updates(log: Path) -> dict[str, int]:
    """Pass → how many updates it made, from the log of a stage (a pass that has left writes nothing); a single one is `all`."""
    rows = list(csv.DictReader(log.read_text().splitlines()))
    named = [name for name in rows[0] if name.endswith("/loss")]
    if not named:
        return {"all": len(rows)}
    return {name.removesuffix("/loss"): sum(row[name] != "" for row in rows) for name in named}


def forms(temperatures: Sequence[float]) -> dict[str, float | None]:
    """Name → the temperature of its early exit."""
    return {"joint": None, **{f"sequential, exit at {t:g}": t for t in temperatures}}


def measure(
    seeds: Sequence[int], steps: int, compared: Mapping[str, float | None], *, clips: int, examples: int
) -> list[dict[str, Any]]:
    """One row per seed and form."""
    root = new_root(0)
    source = Clips(clips, load_modalities)
    asked = questions(root, examples)
    found = []
    for seed in seeds:
        for form, rule in compared.items():
            root = new_root(seed)
            with TemporaryDirectory(prefix="vidweave-") as out:
                start = time.perf_counter()
                train(new_run(root, source, seed, steps, temperature=rule), out, has_progress=False, has_events=False)
                seconds = time.perf_counter() - start
                made = updates(Path(out) / "logs" / "answers.csv")
            row = {"seed": seed, "form": form, "updates": made, "seconds": seconds, "accuracy": accuracy(root, asked)}
            found.append(row)
            print(json.dumps(row), flush=True)
    return found


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Form → means over seeds: accuracy with its standard deviation, updates per sense, seconds."""
    told = {}
    for form in dict.fromkeys(row["form"] for row in rows):
        mine = [row for row in rows if row["form"] == form]
        scores = [row["accuracy"] for row in mine]
        told[form] = {
            "accuracy": statistics.mean(scores),
            "accuracy_deviation": statistics.stdev(scores) if len(scores) > 1 else 0.0,
            "updates_per_sense": statistics.mean(statistics.mean(row["updates"].values()) for row in mine),
            "seconds": statistics.mean(row["seconds"] for row in mine),
        }
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.8, 1.0], help="of the early exit")
    parser.add_argument("--clips", type=int, default=400, help="that are trained on")
    parser.add_argument("--examples", type=int, default=60, help="per family that is asked")
    parser.add_argument("--json", type=Path, help="write the result here as well")
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
