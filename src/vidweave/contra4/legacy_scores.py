"""The original scorers of 2024 and 2025, for comparison with old results; new scores come from `evaluate`.

Both are lenient in ways that affect rankings: 2025 counts a prediction that contains the target anywhere (with bare
letters, any text that contains the letter), 2024 also one contained in the target's words ("o" is always right).
Inputs that crash the original scripts raise AnnotationError here, except for questions without a prediction, which are
counted as the 2025 script counts them before it crashes.
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
    """Output of the 2025 script.

    Attributes:
        predictions: Over all predictions.
        subsets: `mc2_rand`, `mc2_hs`, `mc2`, … `all`, without empty ones.
        modalities: By ordered list of modalities, as the script writes it; compares only the target's first character.
            Empty if a question has no prediction, since the script crashes there.
    """

    predictions: Counts
    subsets: Mapping[str, Counts]
    modalities: Mapping[str, Counts]

    def csv_line(self) -> str:
        """Format subset scores with two decimals; columns of empty subsets are missing, which shifts the later ones."""
        return "".join(f"{right / total:.2f}," for right, total in self.subsets.values())


def score_2025(questions: Sequence[Row], predictions: Sequence[Row]) -> Scores2025:
    """Substring scores of `predictions` (``question_id`` or ``id``, ``pred_ans`` or ``answer``, ``gt_answer``)."""
    id_key = next((key for key in _ID_KEYS if predictions and key in predictions[0]), None)
    if id_key is None:
        raise AnnotationError(f"predictions need an id under one of {', '.join(_ID_KEYS)}")
    text_key = "pred_ans" if "pred_ans" in predictions[0] else "answer"
    by_name = {p[id_key]: (_first(p, text_key), _first(p, "gt_answer")) for p in predictions}
    asked = {_first(q, id_key): q for q in questions}
    strangers = [name for name in by_name if name not in asked]
    if strangers:
        raise AnnotationError(f"prediction {strangers[0]!r} refers to no question of the file")
    targets = {name: _target_2025(question, by_name.get(name)) for name, question in asked.items()}
    right = {name: target in text for name, (text, target) in by_name.items()}
    subsets = {title: [n for n in names if n in right] for title, names in _subsets_2025(asked).items()}
    return Scores2025(
        predictions=(sum(right.values()), len(right)),
        subsets={title: (sum(right[n] for n in names), len(names)) for title, names in subsets.items() if names},
        modalities=_modalities_2025(asked, by_name, targets) if len(by_name) == len(asked) else {},
    )


def _target_2025(question: Row, prediction: tuple[str, str] | None) -> str:
    """Return the question's target; without one, its first answer must exist and the prediction's target is used."""
    if "gt_answer" in question:
        return question["gt_answer"]
    answers = _first(question, "answers")
    return prediction[1] if prediction else answers[0]


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
    asked: Mapping[str, Row], predictions: Mapping[str, tuple[str, str]], targets: Mapping[str, str]
) -> dict[str, Counts]:
    counts: dict[str, Counts] = {}
    for name, question in asked.items():
        key = str(list(question["modalities"]))
        right, total = counts.get(key, (0, 0))
        counts[key] = (right + (targets[name][0] in predictions[name][0]), total + 1)
    return counts


def score_2024(questions: Sequence[Row], results: Sequence[Row]) -> dict[str, Any]:
    """Score with the 2024 script: `total`, `correct` and `accuracy`; shares of all questions by selection and type.

    A question without a result counts as wrong in the shares and is left out of `accuracy`; a result without a question
    is ignored. `individual` holds 1 or 0 for each result.
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
    """Return MSNR of every share present in the three results of `score_2024`; None where the controls score zero."""
    shares = [name for name, value in measured.items() if isinstance(value, float)]
    return {name: signal_to_noise(measured[name], no_input[name], random[name]) for name in shares}


def _is_right_2024(row: Row, modalities: Sequence[str]) -> bool:
    target = str(_first(row, "gt_ans", "gt_answer"))
    letter = target.removeprefix("Scene ")
    if letter not in LETTERS or len(letter) != 1:
        raise AnnotationError(f"the target must be Scene A to Scene D, got {target!r}")
    place = LETTERS.index(letter)
    if place >= len(modalities):
        return False
    prediction = str(_first(row, "pred_ans", "answer")) or "none"
    accepted = {*_SYNONYMS[place], f"scene {letter.lower()}", *_MODALITY_WORDS.get(modalities[place], ())}
    return letter in prediction or any(word in prediction.lower() or prediction.lower() in word for word in accepted)


def _subsets_2024(asked: Mapping[str, Row]) -> dict[str, list[str]]:
    """Return names of questions by selection, by selection and type, and by type."""
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
