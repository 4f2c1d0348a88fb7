"""`vidweave inspect`: print information about a media file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from vidweave.cli.output import Json, show

__all__ = ["inspect"]


def inspect(file: Annotated[str, typer.Argument(help="Video, audio, image or array.")], as_json: Json = False) -> None:
    """Print information about FILE: duration, streams, counted and header frame numbers, rotation."""
    from vidweave.media.inspect import inspect_file

    info = inspect_file(file)
    show(info, "\n".join(_lines(info)), as_json=as_json)


def _lines(value: Mapping[str, Any], indent: str = "") -> list[str]:
    lines = []
    for key, item in value.items():
        if isinstance(item, Mapping):
            lines += [f"{indent}{key}:", *_lines(item, indent + "  ")]
        elif isinstance(item, list) and item and isinstance(item[0], Mapping):
            for number, part in enumerate(item):
                lines += [f"{indent}{key}[{number}]:", *_lines(part, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {round(item, 6) if isinstance(item, float) else item}")
    return lines
