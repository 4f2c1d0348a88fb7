"""Stage: check whether other models pick the same scene in every order of the scenes (round-trip consistency)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from vidweave.contra4.parsing import parse_scene
from vidweave.contra4.prompts import Style, verifier_prompt
from vidweave.contra4.rows import NOT_ASKED, Row, captions_of, first_line, orders, question_of
from vidweave.contra4.schema import index_of
from vidweave.contra4.stage import Wrap, complete, described
from vidweave.engines import Engine, Request, Sampling
from vidweave.errors import ConfigError

__all__ = ["VERIFIER_SAMPLING", "Verification", "Verifier", "verdict_from", "verify_rows"]

VERIFIER_SAMPLING = Sampling(temperature=0.3, top_p=0.9, max_tokens=30, min_tokens=10, seed=42)


def verdict_from(text: str) -> str:
    """Parse a verifier's completion: its first line up to ``</s>``, reduced to ``Scene X`` where one is named."""
    return parse_scene(verifier_line(text), "rtc")


def verifier_line(text: str) -> str:
    """Return the part of a completion that is parsed."""
    return first_line(text).partition("</s>")[0]


@dataclass(frozen=True, kw_only=True)
class Verifier:
    """Verifier model.

    Attributes:
        name: Short name without blanks; verdicts are stored as ``answer_NAME``.
        engine: The model.
        style: ``text`` continues a raw prompt (Llama of the published run), ``chat`` sends one message.
        sampling: Decoding settings.
    """

    name: str
    engine: Engine
    style: Style = "text"
    sampling: Sampling = VERIFIER_SAMPLING

    def request(self, captions: Sequence[str], question: str) -> Request:
        """Build the request for scenes in the given order."""
        text = verifier_prompt(captions, question, self.style)
        prompt = text if self.style == "text" else ({"role": "user", "content": text},)
        return Request(prompt=prompt, sampling=self.sampling)


def verify_rows(rows: Sequence[Row], verifier: Verifier, *, stop_when_lost: bool = False) -> list[Row]:
    """Add ``answer_NAME`` to each row: the verdict for every order of its scenes; captions become plain texts.

    A verdict is empty if the verifier refused, and `NOT_ASKED` if no request was sent: a row whose answer names none of
    its scenes cannot pass any filter.

    Args:
        stop_when_lost: Skip the remaining orders of a row if the verifier does not pick its answer in the given order.
            Every filter gives the same result, since each needs that order to be right; a row with four scenes saves
            23 of 24 requests.
    """
    answers = [_answer(row) for row in rows]
    first = _ask(rows, verifier, slice(0, 1), [answer is not None for answer in answers])
    goes_on = [
        answer is not None and (not stop_when_lost or verdict == answer)
        for (verdict,), answer in zip(first, answers, strict=True)
    ]
    rest = _ask(rows, verifier, slice(1, None), goes_on)
    return [
        {**row, "examples": _with_plain_captions(row), f"answer_{verifier.name}": given + others}
        for row, given, others in zip(rows, first, rest, strict=True)
    ]


def _ask(rows: Sequence[Row], verifier: Verifier, which: slice, requested: Sequence[bool]) -> list[list[str]]:
    """Per row the verdicts for some of its orders; `NOT_ASKED` for rows that were not requested."""
    asked = [_orders(row)[which] for row in rows]
    requests = [
        _request(row, verifier, order)
        for row, its_orders, is_wanted in zip(rows, asked, requested, strict=True)
        for order in its_orders
        if is_wanted
    ]
    texts = iter(complete(verifier.engine, requests) if requests else [])
    return [
        [verdict_from(next(texts) or "") if is_wanted else NOT_ASKED for _ in its_orders]
        for its_orders, is_wanted in zip(asked, requested, strict=True)
    ]


def _orders(row: Row) -> tuple[tuple[int, ...], ...]:
    return orders(len(captions_of(row)))


def _answer(row: Row) -> str | None:
    """The answer as ``Scene X``; None if it names none of the row's scenes."""
    answer = parse_scene(row["answers"][0], "filters") if row["answers"] else ""
    return None if index_of(answer, len(captions_of(row))) is None else answer


def _request(row: Row, verifier: Verifier, order: Sequence[int]) -> Request:
    captions = captions_of(row)
    return verifier.request([captions[i] for i in order], question_of(row))


def _with_plain_captions(row: Row) -> list[Row]:
    captions = captions_of(row)
    shown = [{**example, "caption": text} for example, text in zip(row["examples"], captions, strict=False)]
    return shown + row["examples"][len(captions) :]


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Settings of the stage.

    Attributes:
        verifiers: The models that must agree; published were Llama-3.1-8B, Mistral-7B and Phi-3-medium.
        stop_when_lost: Ask no further orders once the given order is answered otherwise (see `verify_rows`).
    """

    name: ClassVar[str] = "verification"
    scope: ClassVar[str] = "rows"
    verifiers: tuple[Verifier, ...]
    stop_when_lost: bool = False

    def __post_init__(self) -> None:
        names = [verifier.name for verifier in self.verifiers]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"a verification needs verifiers with names of their own, got {names}")
        if bad := [name for name in names if not name.isidentifier() or name.endswith("_formatted")]:
            raise ConfigError(f"verifier {bad[0]!r} needs a name of letters, digits and underscores")

    def run(self, rows: Sequence[Row]) -> list[Row]:
        done = list(rows)
        for verifier in self.verifiers:
            done = verify_rows(done, verifier, stop_when_lost=self.stop_when_lost)
        return done

    def with_engines(self, wrap: Wrap) -> Self:
        return replace(self, verifiers=tuple(replace(v, engine=wrap(v.engine)) for v in self.verifiers))

    def describe(self) -> dict[str, Any]:
        return described(self)
