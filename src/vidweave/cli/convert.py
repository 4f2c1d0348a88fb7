"""`vidweave convert`: a released file of another layout → a model folder of ours."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vidweave.cli.output import Json, show, table
from vidweave.cli.progress import ByteProgress
from vidweave.errors import QueryError
from vidweave.registry import CONVERTERS

__all__ = ["convert"]


def convert(
    layout: Annotated[
        str | None, typer.Argument(metavar="LAYOUT", help="Whose file it is; without any, all layouts are listed.")
    ] = None,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The released file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the model; new or empty.")] = None,
    base: Annotated[
        str | None, typer.Option(help="A model that brings what the file lacks: a name, a folder or a hub id.")
    ] = None,
    part: Annotated[
        list[str] | None, typer.Option(help="ROLE=SOURCE: a further file, folder or hub id, as the layout names it.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE: what the file does not say, e.g. stream_order=a,b.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Of the written weights, e.g. bfloat16; without it each keeps its own.")
    ] = None,
    allow_nonfinite: Annotated[
        bool, typer.Option("--allow-nonfinite", help="Convert weights with NaN or infinity too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Convert FILE of a released LAYOUT.

    No code of the file is run. Every key of it must have its place, and every weight of the model its source; the report
    says where each came from, and is written to conversion.json beside the weights. OUT appears when it is whole.
    """
    if layout is None:
        _list(as_json)
        return
    if file is None or out is None:
        raise QueryError(
            f"a file and --out are needed, e.g. vidweave convert {layout} file.pth --out folder; "
            "`vidweave convert` alone lists the layouts"
        )
    parts, settings = _pairs("--part", part), _pairs("--set", setting)
    CONVERTERS.entry(layout)
    from vidweave.model.conversion import Request
    from vidweave.model.conversion import convert as convert_file

    progress = ByteProgress()
    request = Request(
        file=file,
        out=out,
        base=base,
        parts=parts,
        options=settings,
        dtype=dtype,
        allow_nonfinite=allow_nonfinite,
        progress=progress,
    )
    try:
        report = convert_file(layout, request)
    finally:
        progress.close()
    show({"out": str(out), **report.to_dict()}, "\n".join([*report.lines(), str(out)]), as_json=as_json)


def _list(as_json: bool) -> None:
    facts = {
        name: {fact: value for fact, value in asdict(CONVERTERS.entry(name).facts).items() if value}
        for name in CONVERTERS
    }
    rows = [
        (
            name,
            f.get("base", "-"),
            ", ".join(f.get("parts", ())) or "-",
            ", ".join(f.get("options", ())) or "-",
            f.get("summary", ""),
        )
        for name, f in facts.items()
    ]
    show(facts, table(rows, ("layout", "base", "parts", "settings", "")), as_json=as_json)


def _pairs(flag: str, texts: list[str] | None) -> dict[str, str]:
    pairs = {}
    for text in texts or []:
        key, sign, value = text.partition("=")
        if not sign or not key or not value:
            raise QueryError(f"{flag} takes KEY=VALUE, got {text!r}")
        pairs[key] = value
    return pairs
