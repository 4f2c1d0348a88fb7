"""Scoring of answers: the original's rules, including their defects, and strict ones (spec 5.8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

__all__ = ["RULES", "by_kind", "legacy_music_avqa", "legacy_sqa3d", "repaired_music_avqa", "strict"]

_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_WORDS = {str(number): word for number, word in enumerate(_NUMBERS, 1)}


def strict(prediction: str, answer: str) -> bool:
    """Compare without case, outer spaces and a full stop; numbers up to ten may be digits."""
    return _plain(prediction) == _plain(answer)


def legacy_sqa3d(prediction: str, answer: str) -> bool:
    """Apply the original's "exact match": the prediction occurs in the answer ("able" in "table", empty in all)."""
    text = prediction.replace(",", "")
    for mark in ("<pad>", "</s>"):
        text = text.replace(mark, "")
    text = text.strip().split("\n")[0].lower()
    if len(answer.split()) == 1:
        text = text.split(" ")[-1]
    return _WORDS.get(text, text) in answer


def repaired_music_avqa(prediction: str, answer: str) -> str:
    """Rewrite a prediction as the original does before it compares: a part of the answer becomes the answer."""
    text = _WORDS.get(prediction, prediction)
    return answer if text in answer else text


def legacy_music_avqa(prediction: str, answer: str) -> bool:
    """Apply the original's accuracy: "no" is right if the answer is "piano"."""
    return repaired_music_avqa(prediction, answer) == answer


RULES: dict[str, dict[str, Callable[[str, str], bool]]] = {
    "sqa3d": {"strict": strict, "legacy": legacy_sqa3d},
    "music-avqa": {"strict": strict, "legacy": legacy_music_avqa},
    "nextqa": {"strict": strict, "legacy": strict},
}


def by_kind(marks: Sequence[tuple[str, bool]], kinds: Sequence[str] = ()) -> Mapping[str, float]:
    """Percentage of right answers per kind, and `all`; kinds without a right answer have 0 (the original fails there)."""
    groups: dict[str, list[bool]] = {kind: [] for kind in kinds}
    for kind, mark in marks:
        groups.setdefault(kind, []).append(mark)
    groups["all"] = [mark for _, mark in marks]
    return {kind: 100.0 * sum(right) / len(right) for kind, right in groups.items() if right}


def _plain(text: str) -> str:
    text = text.strip().lower().rstrip(".").strip()
    return _WORDS.get(text, text)
