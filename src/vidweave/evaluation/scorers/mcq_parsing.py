"""Parse the option that a reply chooses by other projects' rules, for comparison with their numbers.

Our own rule is `evaluation.choices.chosen_option`; it is deterministic and rejects ambiguous replies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from string import ascii_uppercase

from vidweave.errors import QueryError, UnknownNameError
from vidweave.evaluation.choices import chosen_option

__all__ = [
    "DEFECTS",
    "REFUSAL",
    "lmms_eval_mmmu",
    "lmms_eval_perception",
    "merv_first_character",
    "parse_choice",
    "parsers",
    "vlmevalkit_choice",
]

REFUSAL = "Z"  # VLMEvalKit's letter for a model that refuses
DEFECTS: Mapping[str, str] = {
    "vidweave": "",
    "merv": 'only the first character counts: "(C)" is unread, "because" is B',
    "lmms-eval-mmmu": "the original draws a random option where nothing fits; here such a reply chooses none",
    "lmms-eval-perception": "the first stand-alone capital from A to D wins, also where the reply rejects it",
    "vlmevalkit": 'after "answer is" any letter from a to d counts, also the first of a word',
}
_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_DECLARED = re.compile(r"answer\s+is\s+\**([ABCD])\**", re.IGNORECASE)


def merv_first_character(reply: str) -> str:
    """Return the first character in lower case, which is all that MERV compares; empty for an empty reply."""
    return reply.lower()[:1]


def lmms_eval_perception(reply: str) -> int | None:
    """Return the position of the first stand-alone capital from A to D (lmms-eval's Perception Test); None if none."""
    result = re.search(r"\b[A-D]\b", reply)
    return ascii_uppercase.index(result[0]) if result else None


def lmms_eval_mmmu(reply: str, options: Mapping[str, str]) -> str | None:
    """Return the letter by the rule of lmms-eval's NExT-QA, which comes from MMMU.

    In this order: "(B)"; "B " even after another character; "B."; in replies of more than five words, an option's text.
    The last of several candidates wins.

    Args:
        options: Letter → text.

    Returns:
        None if the original draws a random letter.
    """
    for mark in ",.!?;:'":
        reply = reply.strip(mark)
    reply = f" {reply} "
    for written, placed in (("({})", "({})"), ("{} ", " {} "), ("{}.", " {} ")):
        if result := [letter for letter in options if written.format(letter) in reply]:
            return max(result, key=lambda letter: reply.rfind(placed.format(letter)))
    if len(reply.split()) <= 5:
        return None
    lowered = reply.lower()
    result = [letter for letter, text in options.items() if text.lower() in lowered]
    return max(result, key=lambda letter: lowered.rfind(options[letter].lower()), default=None)


def vlmevalkit_choice(reply: str, options: Mapping[str, str]) -> str | None:
    """Return the letter by VLMEvalKit's `can_infer`; `REFUSAL` for a refusal; None if it would ask a judge.

    In this order: the only stand-alone letter among the last words; "answer is B"; the only option whose text is a part
    of a reply that is not much longer than the options.

    Args:
        options: Letter → text.
    """
    return _vlmevalkit_letter(reply, options) or _vlmevalkit_text(reply.lower(), options)


def _vlmevalkit_letter(reply: str, options: Mapping[str, str]) -> str | None:
    if "Failed to obtain answer via API" in reply:
        return None
    if any(refusal in reply for refusal in _REFUSALS):
        return REFUSAL
    words = re.sub(r"[.()\[\],:;!*#{}]", " ", reply).split()
    letters = [letter for letter in options if letter in words]
    if len(letters) == 1 and words.index(letters[0]) > len(words) - 5:
        return letters[0]
    if not letters and REFUSAL in words:
        return REFUSAL
    declared = _DECLARED.search(reply)
    return declared[1].upper() if declared and declared[1].upper() in options else None


def _vlmevalkit_text(reply: str, options: Mapping[str, str]) -> str | None:
    if len(reply) > 2 * sum(map(len, options.values())):
        return None
    result = [letter for letter, text in options.items() if text.lower() in reply]
    return result[0] if len(result) == 1 else None


def parsers() -> list[str]:
    """Return the names of all parsers of `parse_choice`."""
    return list(_PARSERS)


def parse_choice(reply: str, options: Sequence[str], parser: str = "vidweave") -> int | None:
    """Return the position of the option that a reply chooses by a named rule; None if it chooses none.

    Raises:
        UnknownNameError: no such parser.
        QueryError: more options than letters.
    """
    if parser not in _PARSERS:
        raise UnknownNameError("parser of choices", parser, _PARSERS)
    if len(options) > len(ascii_uppercase):
        raise QueryError(f"options have letters from A to Z, got {len(options)} options")
    position = _PARSERS[parser](reply, options)
    return position if position is not None and position < len(options) else None


def _by_letter(rule: Callable[[str, Mapping[str, str]], str | None]) -> Callable[[str, Sequence[str]], int | None]:
    def position(reply: str, options: Sequence[str]) -> int | None:
        letters = dict(zip(ascii_uppercase, options, strict=False))
        letter = rule(reply, letters)
        return ascii_uppercase.index(letter) if letter in letters else None

    return position


_PARSERS: Mapping[str, Callable[[str, Sequence[str]], int | None]] = {
    "vidweave": chosen_option,
    "merv": _by_letter(lambda reply, _: merv_first_character(reply).upper()),
    "lmms-eval-mmmu": _by_letter(lmms_eval_mmmu),
    "lmms-eval-perception": lambda reply, _: lmms_eval_perception(reply),
    "vlmevalkit": _by_letter(vlmevalkit_choice),
}
