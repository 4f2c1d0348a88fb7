"""``python -m benchmarks.claims NAME --seed S --examples N [--json FILE]``: exit code 1 when a criterion fails."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.claims import CLAIMS
from vidweave.errors import VidweaveError

__all__ = ["main"]

LEAST_EXAMPLES = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one claim and return the exit code; 0: it holds, 1: a criterion fails, 2: it could not be measured."""
    options = _parser().parse_args(arguments)
    try:
        claim = CLAIMS.get(options.claim)(options.seed, options.examples, progress=not options.quiet)
    except VidweaveError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.json:
        _write(options.json, json.dumps(claim.to_dict(), indent=1))
    if options.json != Path("-"):
        from rich.console import Console

        console = Console(width=None if sys.stdout.isatty() else 200)
        console.print(*claim.tables(), sep="\n")
    return 0 if claim.ok else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.claims", description="Measure a claim in the toy world.")
    parser.add_argument("claim", choices=list(CLAIMS), metavar="NAME", help=f"one of: {', '.join(CLAIMS)}")
    parser.add_argument("--seed", type=int, default=0, help="seed of the unseen world (default 0)")
    parser.add_argument(
        "--examples",
        type=_examples,
        default=1000,
        help=f"items per question type, at least {LEAST_EXAMPLES} (default 1000)",
    )
    parser.add_argument("--json", type=Path, help="write the result here; - is standard output, without tables")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def _examples(text: str) -> int:
    """Parse the number of items; fewer leave too little power to tell a model that knows from one that guesses."""
    count = int(text)
    if count < LEAST_EXAMPLES:
        raise argparse.ArgumentTypeError(
            f"must be at least {LEAST_EXAMPLES}, got {count}: fewer items leave the criteria without power"
        )
    return count


def _write(path: Path, text: str) -> None:
    if path == Path("-"):
        print(text)
        return
    scratch = path.with_name(path.name + ".part")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


if __name__ == "__main__":
    sys.exit(main())
