"""`vidweave data`: list data sets, show one, check its files before a run, and convert it to vidweave's format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidweave.cli.output import Json, show, table
from vidweave.cli.registered import list_names
from vidweave.errors import ConfigError

if TYPE_CHECKING:
    from vidweave.data.dataset import Dataset
    from vidweave.data.health import Health

__all__ = ["app", "check", "convert", "list_datasets", "show_dataset"]

app = typer.Typer(name="data", help="List data sets, check their files and convert them.", no_args_is_help=True)
REPORTS = (".html", ".json")

TargetName = Annotated[
    str, typer.Argument(metavar="TARGET", help="A data set (`vidweave data list`), or your own file.")
]
Settings = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings: data=…, media=… .")]


@app.command("list")
def list_datasets(as_json: Json = False) -> None:
    """List data sets with kind, splits, license and where their files come from."""
    list_names("datasets", as_json=as_json)


@app.command("show")
def show_dataset(name: Annotated[str, typer.Argument(metavar="NAME")], as_json: Json = False) -> None:
    """Show a data set: its command, settings, media layout, scorer, blind baseline and published numbers."""
    from dataclasses import asdict

    from vidweave.evaluation.references import published
    from vidweave.registry import DATASETS
    from vidweave.types.overrides import settings_of

    entry = DATASETS.entry(name)
    reader = entry.load()
    layout = {modality: list(places) for modality, places in getattr(reader, "layout", {}).items()}
    data = {
        "name": name,
        "command": f"vidweave evaluate {name} data=FILE media=FOLDER",
        **asdict(entry.facts),
        "settings": list(settings_of(reader)),
        "layout": layout,
        "published": [row.to_dict() for row in published(name)],
    }
    show(data, _described(data), as_json=as_json)


@app.command("doctor")
def check(
    target: TargetName,
    settings: Settings = None,
    journal: Annotated[
        str | None, typer.Option(help="File that keeps the results of media checks; rerun to resume from it.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Number of threads; one per processor by default.")] = None,
    report: Annotated[Path | None, typer.Option(help="File for the findings: .html or .json.")] = None,
    as_json: Json = False,
) -> None:
    """Check rows, ids, answers and the media of every recording; exit code 1 if there are findings."""
    if report is not None and report.suffix not in REPORTS:
        raise ConfigError(f"--report must end in {', '.join(REPORTS)}, got {report.name!r}")
    from vidweave.data.health import check_dataset

    dataset = _dataset(target, settings or [])
    kept = None if journal is None else Path(journal)
    health = check_dataset(dataset, journal=kept, num_workers=workers)
    data = health.to_dict()
    if report is not None:
        _write_report(report, dataset, health)
    show(data, _text(health), as_json=as_json)
    if health.findings:
        raise typer.Exit(1)


@app.command("convert")
def convert(
    target: TargetName,
    settings: Settings = None,
    out: Annotated[Path, typer.Option(help="Output file, in a folder above the media.")] = Path("examples.jsonl"),
    as_json: Json = False,
) -> None:
    """Write a data set as JSON lines in vidweave's format."""
    from vidweave.data.export import write_examples

    number = write_examples(_dataset(target, settings or []), out)
    show({"out": out, "num_examples": number}, f"{number} examples in {out}", as_json=as_json)


def _dataset(target: str, settings: Sequence[str]) -> Dataset:
    from vidweave.data.dataset import Dataset
    from vidweave.evaluation.targets import find_target
    from vidweave.registry import DATASETS
    from vidweave.types.overrides import parse_settings

    resolved = find_target(target)
    if resolved.kind != "data set":
        raise ConfigError(f"{target!r} is a task, not a data set; see `vidweave data list`")
    reader = DATASETS.get(resolved.name)
    given = parse_settings(reader, [*resolved.settings, *settings], resolved.what)
    if "data" not in given:
        raise ConfigError(f"the {resolved.what} needs data=FILE")
    dataset = reader(**given)
    if not isinstance(dataset, Dataset):
        raise ConfigError(f"the {resolved.what} is not read from an annotation file, so there is nothing to check")
    return dataset


def _described(data: dict[str, Any]) -> str:
    facts = [(key, ", ".join(value) if isinstance(value, (list, tuple)) else value) for key, value in data.items()
             if key not in ("layout", "published") and value]  # fmt: skip
    layout = [(modality, place) for modality, places in data["layout"].items() for place in places]
    rows = [(row["name"], "-" if row["overall"] is None else f"{row['overall']:g}", row["metric"], row["source"])
            for row in data["published"]]  # fmt: skip
    parts = [table(facts), table(layout, ("modality", "path of its files")) if layout else ""]
    parts.append(table(rows, ("published", "value", "metric", "source")) if rows else "")
    return "\n\n".join(part for part in parts if part)


def _text(health: Health) -> str:
    rows = [(finding.kind, finding.where, finding.detail) for finding in health.findings]
    known = f" ({health.num_known} files checked before)" if health.num_known else ""
    line = f"{health.num_examples} examples about {health.num_recordings} recordings{known}: {len(rows)} findings"
    return "\n\n".join(part for part in (table(rows, ("fault", "where", "detail")) if rows else "", line) if part)


def _write_report(path: Path, dataset: Dataset, health: Health) -> None:
    if path.suffix == ".json":
        text = json.dumps(health.to_dict(), ensure_ascii=False, indent=1) + "\n"
        path.write_text(text, encoding="utf-8")
        return
    from vidweave.report.findings import findings_page

    groups: dict[str, list[str]] = {}
    for finding in health.findings:
        groups.setdefault(finding.kind, []).append(f"{finding.where}: {finding.detail}")
    findings_page(f"Check of {Path(dataset.data).name}", groups, json.dumps(health.to_dict(), indent=1)).save(path)
