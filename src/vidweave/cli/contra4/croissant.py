"""`vidweave contra4 croissant`: metadata of a file of questions for catalogues of datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from vidweave.cli.output import Json, show

__all__ = ["croissant"]


def croissant(
    file: Annotated[str, typer.Argument(help="Questions as a JSON list, plain or gzip.")],
    out: Annotated[str | None, typer.Option(help="Where to write; FILE's folder, croissant.json, if left out.")] = None,
    name: Annotated[str, typer.Option(help="Of the dataset.")] = "contra4",
    description: Annotated[str, typer.Option(help="What it is, for people.")] = "",
    license_url: Annotated[str, typer.Option("--license", help="URL of its licence.")] = "",
    url: Annotated[str, typer.Option(help="Its home page.")] = "",
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
