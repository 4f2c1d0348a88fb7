"""`vidweave merge`: join the prediction files of all parts of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidweave.cli.output import Json, show

__all__ = ["merge"]


def merge(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Predictions of parts (--shard I/N --predictions FILE).")
    ],
    out: Annotated[Path, typer.Option(help="Output file; `vidweave evaluate … --predictions FILE` scores it.")],
    as_json: Json = False,
) -> None:
    """Join the predictions of the parts of one run."""
    from vidweave.evaluation.merging import merge_predictions

    number = merge_predictions(files, out)
    text = f"{number} predictions of {len(files)} files in {out}; run the same `vidweave evaluate` with --predictions {out} to score them"
    show({"out": out, "num_records": number, "num_files": len(files)}, text, as_json=as_json)
