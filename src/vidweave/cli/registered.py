"""`vidweave list`: names registered by vidweave, plug-ins and `--import`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from vidweave.cli.output import Json, show, table
from vidweave.errors import UnknownNameError
from vidweave.registry import REGISTRIES

__all__ = ["list_names"]

# Facts that get their own column if any name of the kind has them; the summary comes last.
_COLUMNS = ("kind", "splits", "modalities", "carrier", "license", "access")


def _checked_kind(kind: str | None) -> str | None:
    if kind is not None and kind not in REGISTRIES:
        raise UnknownNameError("kind of name", kind, REGISTRIES)
    return kind


def list_names(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help=f"One of {', '.join(REGISTRIES)}; all by default.", callback=_checked_kind),
    ] = None,
    as_json: Json = False,
) -> None:
    """List registered names: models, tasks, data sets, encoders, selectors and others."""
    kinds = [kind] if kind else list(REGISTRIES)
    rows_by_kind = {name: [_row(name, entry) for entry in REGISTRIES[name]] for name in kinds}
    show(rows_by_kind, "\n\n".join(_text(name, rows) for name, rows in rows_by_kind.items() if rows), as_json=as_json)


def _row(kind: str, name: str) -> dict[str, Any]:
    entry = REGISTRIES[kind].entry(name)
    return {"name": name, "plugin": entry.plugin, **asdict(entry.facts)}


def _text(kind: str, rows: list[dict[str, Any]]) -> str:
    columns = [c for c in (*_COLUMNS, "summary", "plugin") if any(row.get(c) for row in rows)]
    return table([(row["name"], *(_cell(row[c]) for c in columns)) for row in rows], (kind, *columns))


def _cell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, (tuple, list)) else str(value)
