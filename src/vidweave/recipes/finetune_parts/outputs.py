"""What fine-tuning writes: the model, the adapter, and a report page."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vidweave.data.schema import Example
from vidweave.evaluation.metrics import Accuracy
from vidweave.model.adapter_files import write_adapter
from vidweave.model.assembly import VideoLanguageModel
from vidweave.pipelines.slot import SlotPipeline
from vidweave.recipes.finetune_parts.validation import Validation
from vidweave.report.training import training_page

__all__ = ["finish"]

BATCH = 8


@torch.no_grad()
def finish(
    pipe: SlotPipeline,
    stage: str,
    held_out: Sequence[Example],
    settings: Mapping[str, Any],
    model: VideoLanguageModel,
    out: Path,
) -> dict[str, Any]:
    """Write the trained model (`model`), its LoRA adapter (`adapter`) if it has one, and `report.html`."""
    model.eval()
    pipe.save_pretrained(out / "model")
    written: dict[str, Any] = {"model": str(out / "model")}
    if model.language_model.config.lora is not None:
        write_adapter(model, out / "adapter", base=str(settings["model"]))
        written["adapter"] = str(out / "adapter")
    figures: dict[str, Any] = {}
    examples: list[dict[str, Any]] = []
    if held_out:
        validation = Validation(pipe, held_out, BATCH)
        figures = {name: round(value, 6) for name, value in validation(model).items()}
        marks = validation.marks()
        figures["interval"] = _interval(marks)
        examples = [_row(e, a.text, right) for e, a, right in zip(held_out, validation.answers, marks, strict=True)]
    pipe.close()
    logs = out / "logs"
    page = training_page(
        title=f"Fine-tuning of {settings['model']}",
        losses=_column(logs / f"{stage}.csv", "loss"),
        metrics={name: _column(logs / f"{stage}.metrics.csv", name) for name in ("accuracy", "loss")},
        trained=_parts(model, logs / f"{stage}.trainable.txt"),
        examples=examples,
        figures=figures,
        manifest={"settings": dict(settings), "run": json.loads((out / "run.json").read_text())["hash"], **written},
    )
    page.save(out / "report.html")
    return {**written, **figures, "report": str(out / "report.html")}


def _interval(marks: Sequence[bool]) -> list[float]:
    accuracy = Accuracy.of("validation", marks)
    return [round(accuracy.low, 4), round(accuracy.high, 4)]


def _row(example: Example, text: str, is_right: bool) -> dict[str, Any]:
    return {
        "id": example.id,
        "question": example.query.text,
        "answer": example.answer,
        "given": text,
        "right": is_right,
    }


def _column(file: Path, name: str) -> list[tuple[float, float]]:
    """(step, value) of each row; empty if there is no such file or column."""
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return [(float(row["step"]), float(row[name])) for row in csv.DictReader(lines) if row.get(name)]


def _parts(model: VideoLanguageModel, names: Path) -> dict[str, tuple[int, int]]:
    """Slot → parameters in all, and trained."""
    trained = {line.partition("\t")[2] for line in names.read_text(encoding="utf-8").splitlines()}
    parts: dict[str, tuple[int, int]] = {}
    for name, parameter in model.named_parameters():
        total, own = parts.get(slot := name.partition(".")[0], (0, 0))
        parts[slot] = (total + parameter.numel(), own + parameter.numel() * (name in trained))
    return parts
