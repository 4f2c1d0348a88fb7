"""`vidweave contra4 croissant`: write data set metadata for a question file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from vidweave.cli.output import Json, show

__all__ = ["croissant"]


def croissant(
    file: Annotated[str, typer.Argument(help="Questions as a JSON list, plain or gzip.")],
    out: Annotated[str | None, typer.Option(help="Output file (default: croissant.json beside FILE).")] = None,
    name: Annotated[str, typer.Option(help="Name of the data set.")] = "contra4",
    description: Annotated[str, typer.Option(help="Description of the data set.")] = "",
    license_url: Annotated[str, typer.Option("--license", help="URL of the license.")] = "",
    url: Annotated[str, typer.Option(help="URL of the home page.")] = "",
    as_json: Json = False,
) -> None:
    """Write Croissant 1.0 metadata with checksum and fields."""
    from vidweave.contra4.croissant import croissant as describe
    from vidweave.contra4.schema import read_questions

    path = Path(file)
    data = describe(path, read_questions(path), name=name, description=description, license_url=license_url, url=url)
    target = Path(out) if out else path.with_name("croissant.json")
    target.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    show({"out": target}, f"metadata in {target}", as_json=as_json)
