"""Output of commands on stdout: plain text or JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Annotated, Any

import typer

__all__ = ["Json", "show", "table"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


def show(data: Any, text: str, *, as_json: bool) -> None:
    """Print `data` as one JSON document, or `text`."""
    typer.echo(json.dumps(_plain(data), ensure_ascii=False, indent=2, allow_nan=False) if as_json else text)


def table(rows: Iterable[Sequence[Any]], header: Sequence[str] = ()) -> str:
    """Format rows as columns aligned by spaces; numbers are right-aligned."""
    cells = [[str(cell) for cell in row] for row in ([header] if header else []) + [list(row) for row in rows]]
    if not cells:
        return ""
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    right = [all(_is_number(row[i]) for row in cells[bool(header) :]) for i in range(len(widths))]
    lines = (
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)) for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)


def _is_number(cell: str) -> bool:
    return cell in ("", "-") or cell[:1].isdigit() or (cell[:1] in "-+" and cell[1:2].isdigit())


def _plain(value: Any) -> Any:
    """Convert to plain JSON values: JSON has no NaN, arrays or paths."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, PurePath) else value
