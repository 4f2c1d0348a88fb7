"""The scorers of 2024 and 2025 as they were, for comparison with old numbers; new ones come from `evaluate`.

Both are lenient in ways that decide ranks: 2025 counts a prediction that contains the truth anywhere (with bare letters,
any text that contains the letter), 2024 also one that the truth's words contain ("o" is always right). What made the
original scripts stop raises AnnotationError here, apart from questions without a prediction, which are counted as the
2025 script counts them before it stops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vidweave.contra4.parsing import LETTERS
from vidweave.errors import AnnotationError
from vidweave.evaluation.metrics import signal_to_noise

__all__ = ["Scores2025", "score_2024", "score_2025", "signal_to_noise_2024"]

Row = Mapping[str, Any]
Counts = tuple[int, int]  # right, counted
_ID_KEYS = ("question_id", "id", "sample_id")
_SYNONYMS = (("1", "first", "one"), ("2", "second", "two"), ("3", "third", "three"), ("4", "fourth", "four"))
_MODALITY_WORDS = {
    "audio": ("sound", "audio"),
    "video": ("video", "frames", "clip"),
    "pc": ("3d", "point cloud", "model"),
    "image": ("image", "picture", "photo"),
}


@dataclass(frozen=True, kw_only=True)
class Scores2025:
    """What the 2025 script prints.

    Attributes:
        predictions: Over all predictions.
        subsets: `mc2_rand`, `mc2_hs`, `mc2`, … `all`, without empty ones.
        modalities: By ordered list of modalities, as the script writes it; compares the truth's first character only.
            Empty where a question has no prediction, since the script stops there.
    """

    predictions: Counts
    subsets: Mapping[str, Counts]
    modalities: Mapping[str, Counts]

    def csv_line(self) -> str:
        """Shares of the subsets with two decimals; columns of empty ones are missing, so that later ones shift."""
        return "".join(f"{right / total:.2f}," for right, total in self.subsets.values())


def score_2025(questions: Sequence[Row], predictions: Sequence[Row]) -> Scores2025:
    """Substring scores of `predictions` (``question_id`` or ``id``, ``pred_ans`` or ``answer``, ``gt_answer``)."""
    id_key = next((key for key in _ID_KEYS if predictions and key in predictions[0]), None)
    if id_key is None:
        raise AnnotationError(f"predictions need an id under one of {', '.join(_ID_KEYS)}")
    text_key = "pred_ans" if "pred_ans" in predictions[0] else "answer"
    said = {p[id_key]: (_first(p, text_key), _first(p, "gt_answer")) for p in predictions}
    asked = {_first(q, id_key): q for q in questions}
    strangers = [name for name in said if name not in asked]
    if strangers:
        raise AnnotationError(f"prediction {strangers[0]!r} is about no question of the file")
    truths = {name: _truth_2025(question, said.get(name)) for name, question in asked.items()}
    right = {name: truth in text for name, (text, truth) in said.items()}
    subsets = {title: [n for n in names if n in right] for title, names in _subsets_2025(asked).items()}
    return Scores2025(
        predictions=(sum(right.values()), len(right)),
        subsets={title: (sum(right[n] for n in names), len(names)) for title, names in subsets.items() if names},
        modalities=_modalities_2025(asked, said, truths) if len(said) == len(asked) else {},
    )


def _truth_2025(question: Row, said: tuple[str, str] | None) -> str:
    """A question without a truth of its own takes that of its prediction, once its first answer has been looked at."""
    if "gt_answer" in question:
        return question["gt_answer"]
    answers = _first(question, "answers")
    return said[1] if said else answers[0]


def _subsets_2025(asked: Mapping[str, Row]) -> dict[str, list[str]]:
    def names(q_type: str = "", is_random: bool | None = None) -> list[str]:
        return [
            name
            for name, q in asked.items()
            if (not q_type or q["q_type"] == q_type)
            and (is_random is None or (q["selection_type"] == "random") == is_random)
        ]

    subsets: dict[str, list[str]] = {}
    for count in (2, 3, 4):
        for ending, is_random in (("_rand", True), ("_hs", False), ("", None)):
            subsets[f"mc{count}{ending}"] = names(f"mc_{count}", is_random)
    return subsets | {"sample_rand": names(is_random=True), "sample_hs": names(is_random=False), "all": names()}


def _modalities_2025(
    asked: Mapping[str, Row], said: Mapping[str, tuple[str, str]], truths: Mapping[str, str]
) -> dict[str, Counts]:
    counts: dict[str, Counts] = {}
    for name, question in asked.items():
        key = str(list(question["modalities"]))
        right, total = counts.get(key, (0, 0))
        counts[key] = (right + (truths[name][0] in said[name][0]), total + 1)
    return counts


def score_2024(questions: Sequence[Row], results: Sequence[Row]) -> dict[str, Any]:
    """The 2024 scorer: `total`, `correct` and `accuracy` of the results; shares of all questions by selection and type.

    A question without a result is wrong in the shares and left out of `accuracy`; a result without a question is passed
    over. `individual` holds each result's 1 or 0.
    """
    asked = {_id_2024(question): question for question in questions}
    individual = {}
    for row in results:
        if (name := _id_2024(row)) in asked:
            individual[name] = int(_is_right_2024(row, asked[name]["modalities"]))
    correct = sum(individual.values())
    shares = {
        title: sum(individual.get(name, 0) for name in names) / len(names) if names else 0.0
        for title, names in _subsets_2024(asked).items()
    }
    accuracy = correct / len(individual) if individual else 0.0
    return {"total": len(individual), "correct": correct, "accuracy": accuracy, **shares, "individual": individual}


def signal_to_noise_2024(
    measured: Mapping[str, Any], no_input: Mapping[str, Any], random: Mapping[str, Any]
) -> dict[str, float | None]:
    """MSNR of every share that the three results of `score_2024` have; None where the controls score nothing."""
    shares = [name for name, value in measured.items() if isinstance(value, float)]
    return {name: signal_to_noise(measured[name], no_input[name], random[name]) for name in shares}


def _is_right_2024(row: Row, modalities: Sequence[str]) -> bool:
    truth = str(_first(row, "gt_ans", "gt_answer"))
    letter = truth.removeprefix("Scene ")
    if letter not in LETTERS or len(letter) != 1:
        raise AnnotationError(f"the truth must be Scene A to Scene D, got {truth!r}")
    place = LETTERS.index(letter)
    if place >= len(modalities):
        return False
    said = str(_first(row, "pred_ans", "answer")) or "none"
    accepted = {*_SYNONYMS[place], f"scene {letter.lower()}", *_MODALITY_WORDS.get(modalities[place], ())}
    return letter in said or any(word in said.lower() or said.lower() in word for word in accepted)


def _subsets_2024(asked: Mapping[str, Row]) -> dict[str, list[str]]:
    """Names of questions by selection, by selection and type, and by type."""
    subsets: dict[str, list[str]] = {}
    kinds = {"high_sim": ("high_sim", "similarity"), "rand": ("random",)}
    for title, words in kinds.items():
        subsets[f"{title}_all"] = [name for name, q in asked.items() if q["selection_type"] in words]
    for count in (2, 3, 4):
        same = [name for name, q in asked.items() if q["q_type"] == f"mc_{count}"]
        for title, words in kinds.items():
            subsets[f"{title}_mc{count}"] = [name for name in same if asked[name]["selection_type"] in words]
        subsets[f"mc{count}_all"] = same
    return subsets


def _id_2024(row: Row) -> str:
    return _first(row, "question_id", "id")


def _first(row: Row, *keys: str) -> Any:
    for key in keys:
        if key in row:
            return row[key]
    raise AnnotationError(f"a row needs one of {', '.join(keys)}; it has {', '.join(row)}")
