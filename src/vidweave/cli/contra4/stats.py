"""`vidweave contra4 stats`: statistics of a question file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vidweave.cli.output import Json, show, table

__all__ = ["stats"]


def stats(
    file: Annotated[str, typer.Argument(help="Questions as JSON or JSON lines, plain or gzip.")],
    against: Annotated[str | None, typer.Option(help="Count what FILE shares with this file.")] = None,
    as_json: Json = False,
) -> None:
    """Show counts, balance and the accuracy of blind baselines."""
    from vidweave.contra4.schema import read_questions
    from vidweave.contra4.statistics import overlap, statistics

    questions = read_questions(Path(file))
    data = statistics(questions)
    if against is not None:
        data["shared"] = overlap(questions, read_questions(Path(against)))
    show(data, _text(data), as_json=as_json)


def _text(data: dict[str, Any]) -> str:
    total = data["questions"]
    words = data["question_words"]
    parts = [
        f"{total} questions ({data['distinct_questions']} distinct, {words['mean']:.1f} words each) over "
        f"{data['media']} media",
        _shares("scenes and selection", data["selection_and_q_type"], total),
        _shares("right label", data["labels"], total),
        _shares("modalities together", data["modality_sets"], total),
        table(
            [
                (
                    name,
                    row["scenes"],
                    f"{row['caption_words']:.1f}",
                    row["answers"],
                    f"{row['answers_when_present']:.3f}",
                )
                for name, row in data["modalities"].items()
            ],
            ("modality", "scenes", "caption words", "answers", "answer if present"),
        ),
        table([(n, r["scenes"], r["media"]) for n, r in data["sources"].items()], ("source", "scenes", "media")),
        _shares("category", data["categories"], total) if data["categories"] else "",
        table([(n, f"{value:.3f}") for n, value in data["blind"].items()], ("blind baseline", "accuracy")),
        table(data["shared"].items(), ("shared", "count")) if "shared" in data else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _shares(what: str, counts: dict[str, int], total: int) -> str:
    return table([(name, count, f"{count / total:.1%}") for name, count in counts.items()], (what, "count", "share"))
