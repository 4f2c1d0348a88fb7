"""`vidweave contra4 doctor`: which media are missing or cannot be decoded."""

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
        help="Folder of a collection (audiocaps, clotho, coco, msrvtt, objaverse or a source of your own, "
        "NAME=FOLDER|{id}.wav with a pattern); otherwise $AUDIOCAPS_DIR, $CLOTHO_DIR, $COCO_DIR, $MSRVTT_DIR, "
        "$OBJAVERSE_FEAT_DIR.",
    ),
]
SHOWN = 20


def doctor(
    file: Annotated[str, typer.Argument(help="Questions as JSON or JSON lines, plain or gzip.")],
    media: MediaOption = None,
    decode: Annotated[bool, typer.Option(help="Decode, instead of only looking whether files are there.")] = True,
    as_json: Json = False,
) -> None:
    """List media that are missing or undecodable, and how many questions are left without them."""
    from vidweave.contra4.doctor import examine
    from vidweave.contra4.media import Media
    from vidweave.contra4.schema import read_questions
    from vidweave.evaluation.runner import progress_bar

    questions = read_questions(Path(file))
    resolver = Media.from_settings(media_folders(media))
    total = len({(s.modality, *s.key) for q in questions for s in q.scenes})
    found = []
    with progress_bar("looking", total) as advance:
        for examined in examine(questions, resolver, decode=decode):
            found.append(examined)
            advance(1)
    bad = [examined for examined in found if examined.status != "ok"]
    lost = {name for examined in bad for name in examined.questions}
    counts = Counter((examined.scene.source, examined.status) for examined in found)
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
    lines += _told(bad)
    lines.append(f"{len(questions) - len(lost)} of {len(questions)} questions have all their media")
    show(data, "\n".join(lines), as_json=as_json)
    if bad:
        raise typer.Exit(1)


def _told(bad: Sequence[Examined]) -> list[str]:
    """A line for each trouble, however many media have it: a folder that nobody named is one."""
    troubles: dict[tuple[str, str], list[Examined]] = {}
    for examined in bad:
        troubles.setdefault((examined.status, examined.why), []).append(examined)
    lines = []
    for (status, why), same in list(troubles.items())[:SHOWN]:
        media = f"{len(same)} media, " if len(same) > 1 else ""
        questions = {name for examined in same for name in examined.questions}
        lines.append(f"{status}: {why} ({media}{len(questions)} question{'s' * (len(questions) != 1)})")
    rest = len(troubles) - SHOWN
    return [*lines, f"and {rest} more; --json lists them all"] if rest > 0 else lines


def media_folders(options: list[str] | None) -> dict[str, str]:
    """``NAME=FOLDER`` options as a mapping."""
    found = {}
    for text in options or []:
        name, sign, folder = text.partition("=")
        if not sign or not name or not folder:
            raise ConfigError(f"{text!r} is no media folder; write NAME=FOLDER, e.g. coco=/data/coco")
        found[name] = folder
    return found
