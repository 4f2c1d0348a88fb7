"""`vidweave contra4 doctor`: list media that are missing or cannot be decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidweave.cli.output import Json, show, table
from vidweave.errors import ConfigError

if TYPE_CHECKING:
    from vidweave.contra4.doctor import Examined

__all__ = ["MediaOption", "doctor", "media_folders"]

MediaOption = Annotated[
    list[str] | None,
    typer.Option(
        "--media",
        metavar="NAME=FOLDER",
        help="Folder of a collection (audiocaps, clotho, coco, msrvtt, objaverse or your own source, "
        "NAME=FOLDER|{id}.wav with a pattern); otherwise $AUDIOCAPS_DIR, $CLOTHO_DIR, $COCO_DIR, $MSRVTT_DIR, "
        "$OBJAVERSE_FEAT_DIR.",
    ),
]
SHOWN = 20


def doctor(
    file: Annotated[str, typer.Argument(help="Questions as JSON or JSON lines, plain or gzip.")],
    media: MediaOption = None,
    decode: Annotated[bool, typer.Option(help="Decode files instead of only checking that they exist.")] = True,
    as_json: Json = False,
) -> None:
    """List media that are missing or cannot be decoded, and count the questions with all their media."""
    from vidweave.contra4.doctor import examine
    from vidweave.contra4.media import Media
    from vidweave.contra4.schema import read_questions
    from vidweave.evaluation.runner import progress_bar

    questions = read_questions(Path(file))
    resolver = Media.from_settings(media_folders(media))
    total = len({(s.modality, *s.key) for q in questions for s in q.scenes})
    result = []
    with progress_bar("checking", total) as advance:
        for examined in examine(questions, resolver, decode=decode):
            result.append(examined)
            advance(1)
    bad = [examined for examined in result if examined.status != "ok"]
    lost = {name for examined in bad for name in examined.questions}
    counts = Counter((examined.scene.source, examined.status) for examined in result)
    data = {
        "ok": not bad,
        "media": total,
        "questions": len(questions),
        "covered_questions": len(questions) - len(lost),
        "counts": [{"source": s, "status": t, "media": n} for (s, t), n in sorted(counts.items())],
        "bad": [
            {
                "source": e.scene.source,
                "id": e.scene.id,
                "status": e.status,
                "why": e.why,
                "questions": list(e.questions),
            }
            for e in bad
        ],
    }
    lines = [table([(s, t, n) for (s, t), n in sorted(counts.items())], ("source", "status", "media"))]
    lines += _problem_lines(bad)
    lines.append(f"{len(questions) - len(lost)} of {len(questions)} questions have all their media")
    show(data, "\n".join(lines), as_json=as_json)
    if bad:
        raise typer.Exit(1)


def _problem_lines(bad: Sequence[Examined]) -> list[str]:
    """Format one line per problem, with the number of media it affects; a missing folder is one problem."""
    problems: dict[tuple[str, str], list[Examined]] = {}
    for examined in bad:
        problems.setdefault((examined.status, examined.why), []).append(examined)
    lines = []
    for (status, why), same in list(problems.items())[:SHOWN]:
        media = f"{len(same)} media, " if len(same) > 1 else ""
        questions = {name for examined in same for name in examined.questions}
        lines.append(f"{status}: {why} ({media}{len(questions)} question{'s' * (len(questions) != 1)})")
    rest = len(problems) - SHOWN
    return [*lines, f"and {rest} more; --json lists them all"] if rest > 0 else lines


def media_folders(options: list[str] | None) -> dict[str, str]:
    """Parse ``NAME=FOLDER`` options into a mapping."""
    folders = {}
    for text in options or []:
        name, sign, folder = text.partition("=")
        if not sign or not name or not folder:
            raise ConfigError(f"{text!r} is not a media folder; write NAME=FOLDER, e.g. coco=/data/coco")
        folders[name] = folder
    return folders
