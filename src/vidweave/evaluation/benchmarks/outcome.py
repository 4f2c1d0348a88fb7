"""Outcome of one question: the labeled example and the model's reply. All benchmark scorers read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vidweave.data.schema import Example
from vidweave.evaluation.metrics import normalize_answer
from vidweave.evaluation.predictions import Prediction
from vidweave.evaluation.scorers.mcq_parsing import parse_choice
from vidweave.evaluation.scorers.table import Response

__all__ = ["Outcome", "by_position", "by_text", "chosen_position", "join_outcomes"]

NO_CHOICE = -1  # position of a reply that chooses no option: a prediction, but a wrong one


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A labeled question and the model's reply.

    Attributes:
        example: The annotated example, without its media.
        reply: The model's text; None if the question was not asked because its media are missing.
        scores: Log-probability of each option; empty if the reply was generated.
        alternatives: Further beams, best first.
        parser: Parser of generated choices (`evaluation.scorers.mcq_parsing`).
    """

    example: Example
    reply: str | None
    scores: tuple[float | None, ...] = ()
    alternatives: tuple[str, ...] = ()
    parser: str = "vidweave"

    @property
    def choice(self) -> int | None:
        """Position of the chosen option; None if none was chosen or there are no options."""
        if self.reply is None or not self.example.query.options:
            return None
        return chosen_position(self.example, self.reply, self.scores, self.parser)


def chosen_position(
    example: Example, reply: str, scores: Sequence[float | None] = (), parser: str = "vidweave"
) -> int | None:
    """Return the position of the option that a reply chooses: by likelihood if there are scores, else by a parser.

    If several options have the chosen text, the correct one among them is taken, since the model was only asked for the
    text. A letter refers to its own position.
    """
    options, right = example.query.options, example.position
    known = [score for score in scores if score is not None]
    if len(known) == len(options):
        position, by_letter = known.index(max(known)), False
    else:
        position = parse_choice(reply, options, parser)
        by_letter = position is not None and normalize_answer(options[position]) not in normalize_answer(reply)
    if position is not None and right is not None and not by_letter and options[position] == options[right]:
        return right
    return position


def join_outcomes(
    examples: Iterable[Example], predictions: Iterable[Prediction], parser: str = "vidweave"
) -> list[Outcome]:
    """Join labeled examples with predictions by id; an example without a prediction has no reply."""
    result = {prediction.id: prediction for prediction in predictions}
    outcomes = []
    for example in (e for e in examples if e.is_labeled):
        prediction = result.get(example.id)
        if prediction is None:
            outcomes.append(Outcome(example=example, reply=None, parser=parser))
            continue
        outcomes.append(
            Outcome(
                example=example,
                reply=prediction.output,
                scores=prediction.scores,
                alternatives=prediction.alternatives,
                parser=parser,
            )
        )
    return outcomes


def by_position(outcomes: Iterable[Outcome]) -> list[Response[int]]:
    """Convert to responses whose answers are positions of options; a reply that chooses none is a wrong prediction."""
    return [
        Response(
            id=o.example.id,
            question_type=o.example.question_type,
            answer=_position(o.example),
            prediction=None if o.reply is None else (NO_CHOICE if o.choice is None else o.choice),
        )
        for o in outcomes
    ]


def _position(example: Example) -> int:
    position = example.position
    assert position is not None, f"{example.id} has no options"
    return position


def by_text(outcomes: Iterable[Outcome]) -> list[Response[str]]:
    """Convert to responses whose answers are texts."""
    return [
        Response(id=o.example.id, question_type=o.example.question_type, answer=o.example.answer, prediction=o.reply)
        for o in outcomes
    ]
