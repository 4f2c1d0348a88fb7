"""`vidweave merge`: join the record files of all parts of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidweave.cli.output import Json, show

__all__ = ["merge"]


def merge(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Records of parts (--shard I/N --records FILE).")
    ],
    out: Annotated[Path, typer.Option(help="Output file; `vidweave evaluate … --records FILE` scores it.")],
    as_json: Json = False,
) -> None:
    """Join the records of the parts of one run."""
    from vidweave.evaluation.merging import merge_records

    number = merge_records(files, out)
    text = f"{number} records of {len(files)} files in {out}; run the same `vidweave evaluate` with --records {out} to score them"
    show({"out": out, "num_records": number, "num_files": len(files)}, text, as_json=as_json)
