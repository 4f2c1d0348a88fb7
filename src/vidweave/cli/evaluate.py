"""`vidweave evaluate`: measure a model on a task."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidweave.cli.options import DEFAULT_MODEL, MAX_SEED, Device, Dtype, FeatureCache, ModelName
from vidweave.cli.output import Json, show, table
from vidweave.cli.quiet import narrate
from vidweave.cli.records import record_path
from vidweave.cli.reports import ReportFile, check_report_file, write_report
from vidweave.errors import ConfigError
from vidweave.registry import TASKS

if TYPE_CHECKING:
    from vidweave.evaluation.report import Report

__all__ = ["evaluate"]

FLAGS = {"families": "family", "modalities": "modality"}  # settings of tasks whose option has another name


def evaluate(
    model: ModelName = DEFAULT_MODEL,
    task: Annotated[
        str, typer.Option(help="What to measure.", callback=lambda name: TASKS.entry(name).name)
    ] = "toyworld",
    records: Annotated[str | None, typer.Option(help="Keep one JSON line per item here, and resume from it.")] = None,
    examples: Annotated[int | None, typer.Option(min=1, help="Questions per family.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first that many items.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions per forward pass.")] = 16,
    seed: Annotated[int | None, typer.Option(min=0, max=MAX_SEED, help="Which unseen questions.")] = None,
    family: Annotated[list[str] | None, typer.Option(help="Only this family; may be given several times.")] = None,
    modality: Annotated[list[str] | None, typer.Option(help="What clips hold; may be given several times.")] = None,
    folder: Annotated[str | None, typer.Option(help="Clips and questions of `vidweave world make` instead.")] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Pictures per question; the model's own number if left out.")
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    cache: FeatureCache = None,
    report_file: ReportFile = None,
    as_json: Json = False,
) -> None:
    """Accuracy per family with 95% Wilson intervals."""
    check_report_file(report_file)
    import vidweave
    from vidweave.evaluation.runner import run

    narrate()
    wanted = {"seed": seed, "examples": examples, "families": family, "modalities": modality, "folder": folder}
    chosen = _task(task, {name: value for name, value in wanted.items() if value is not None})
    answerer = vidweave.load(model, device=device, dtype=dtype, cache_folder=cache)
    decoding = {} if frames is None else {"num_frames": frames}
    with record_path(records) as path:
        report = run(answerer, chosen, path, batch_size=batch_size, limit=limit, decoding=decoding)
    data = {**report.to_dict(), "records": records}
    write_report(report_file, data)
    show(data, _text(report), as_json=as_json)


def _task(name: str, settings: dict[str, Any]) -> Any:
    """The task of that name: what is registered is a task, or makes one of those settings that it has."""
    target = TASKS.get(name)
    takes = list(signature(target).parameters.values()) if callable(target) else []
    known = [p.name for p in takes if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    is_open = any(p.kind is p.VAR_KEYWORD for p in takes)
    if strangers := [f"--{FLAGS.get(s, s)}" for s in settings if s not in known and not is_open]:
        raise ConfigError(
            f"the task {name!r} takes no {', '.join(strangers)}; it takes: {', '.join(known) or 'nothing'}"
        )
    if lacking := [p.name for p in takes if p.name in known and p.default is p.empty and p.name not in settings]:
        raise ConfigError(f"the task {name!r} needs {', '.join(lacking)}, which no option here gave")
    return target(**settings) if callable(target) else target


def _text(report: Report) -> str:
    rows: list[tuple[Any, ...]] = [
        (
            a.family,
            f"{a.accuracy:.1%}",
            f"{a.low:.1%} to {a.high:.1%}",
            "-" if a.chance is None else f"{a.chance:.1%}",
            a.num_items,
        )
        for a in (*report.families, report.overall)
    ]
    return table(rows, ("family", "accuracy", "95% interval", "chance", "items"))
