"""`vidweave convert`: convert a released checkpoint of another layout to a vidweave model folder."""

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
        str | None, typer.Argument(metavar="LAYOUT", help="Layout of the file; lists all layouts if omitted.")
    ] = None,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The released file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Output folder for the model; new or empty.")] = None,
    base: Annotated[
        str | None,
        typer.Option(help="A model that supplies the weights missing from the file: a name, a folder or a hub id."),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(help="ROLE=SOURCE: a further file, folder or hub id; roles depend on the layout."),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE: a setting that the file does not contain, e.g. stream_order=a,b."),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Dtype of the written weights, e.g. bfloat16; unchanged if omitted.")
    ] = None,
    allow_nonfinite: Annotated[
        bool, typer.Option("--allow-nonfinite", help="Also convert weights that contain NaN or infinity.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Convert FILE of a released LAYOUT.

    No code in the file is executed. Every key of the file must map to a weight, and every weight of the model to a key.
    The report lists the source of each weight and is saved as conversion.json. OUT appears only when it is complete.
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
