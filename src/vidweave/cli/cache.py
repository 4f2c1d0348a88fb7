"""`vidweave cache`: the feature store of frozen encoders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidweave.cli.amounts import format_bytes, parse_bytes
from vidweave.cli.options import parsed_duration
from vidweave.cli.output import Json, show, table
from vidweave.errors import ConfigError

if TYPE_CHECKING:
    from vidweave.media.store import FeatureStore

__all__ = ["app", "default_cache_folder", "list_entries", "prune", "verify"]

app = typer.Typer(name="cache", help="The feature store of frozen encoders.", no_args_is_help=True)


def default_cache_folder() -> Path:
    """Default folder of the feature store: below XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vidweave" / "features"


Folder = Annotated[
    Path,
    typer.Option(
        "--cache", envvar="VIDWEAVE_CACHE", help="Folder of the store.", show_default="~/.cache/vidweave/features"
    ),
]


@app.command("ls")
def list_entries(cache: Folder = default_cache_folder(), as_json: Json = False) -> None:  # noqa: B008
    """List the entries of the store and their sizes."""
    if not _holds_store(cache):
        empty = {"folder": cache, "num_entries": 0, "num_shards": 0, "num_bytes": 0, "entries": []}
        show(empty, f"no feature store at {cache} yet; --cache of ask and evaluate creates one", as_json=as_json)
        return
    store = _open(cache)
    stats = store.stats()
    entries = [{"key": key, **store.info(key)} for key in store.keys()]  # noqa: SIM118  # a store is not a mapping
    summary = f"{stats.num_entries} entries in {stats.num_shards} shards, {format_bytes(stats.num_bytes)}, in {cache}"
    rows = [(e["key"][:12], " ".join(f"{k}={v}" for k, v in e.items() if k != "key")) for e in entries]
    show(
        {"folder": cache, **stats.to_dict(), "entries": entries},
        "\n".join(filter(None, [table(rows), summary])),
        as_json=as_json,
    )


@app.command("verify")
def verify(cache: Folder = default_cache_folder(), as_json: Json = False) -> None:  # noqa: B008
    """Verify the checksum of every entry; exit code 1 if one is bad (bad entries are never used)."""
    report = _open(cache).verify()
    lines = [f"bad: {bad.key or '(index)'} in {bad.shard}: {bad.reason}" for bad in report.bad]
    lines += [f"left over: {name}" for name in report.leftovers]
    lines.append(f"{report.num_checked} entries checked, {len(report.bad)} bad")
    if not report.ok:
        lines.append("remove them with: vidweave cache prune --damaged")
    show(report.to_dict(), "\n".join(lines), as_json=as_json)
    if not report.ok:
        raise typer.Exit(1)


@app.command("prune")
def prune(
    cache: Folder = default_cache_folder(),  # noqa: B008
    max_size: Annotated[
        str | None, typer.Option(help="Remove the oldest entries until the store has at most this size, e.g. 2GB.")
    ] = None,
    older_than: Annotated[
        float | None,
        typer.Option(help="Remove entries older than this, e.g. 12h or 30d.", metavar="TIME", parser=parsed_duration),
    ] = None,
    damaged: Annotated[bool, typer.Option("--damaged", help="Verify the store and remove bad entries.")] = False,
    as_json: Json = False,
) -> None:
    """Remove entries and leftover files; removed features are computed again when needed."""
    max_bytes = parse_bytes(max_size) if max_size is not None else None
    report = _open(cache).prune(max_bytes=max_bytes, older_than=older_than, damaged=damaged)
    text = f"removed {report.num_entries} entries in {report.num_shards} shards, {format_bytes(report.num_bytes)}"
    show(report.to_dict(), text, as_json=as_json)


def _open(folder: Path) -> FeatureStore:
    from vidweave.errors import MediaNotFoundError
    from vidweave.media.store import FeatureStore

    if not _holds_store(folder):
        raise MediaNotFoundError(f"there is no feature store at {str(folder)!r}; give its folder with --cache")
    return FeatureStore(folder, create=False)


def _holds_store(folder: Path) -> bool:
    """Whether the folder exists; ConfigError if it is a file."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--cache must be a folder, {str(folder)!r} is a file")
    return folder.is_dir()
