"""Evaluate a model on a question file: its score beside blind rules, controls and published results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidweave.contra4.blind import blind_answers
from vidweave.contra4.legacy_scores import score_2024, score_2025
from vidweave.contra4.schema import ContrastQuestion
from vidweave.contra4.task import Contra4Task, Locate, View, chooses_answer
from vidweave.evaluation.choices import chosen_option
from vidweave.evaluation.metrics import Accuracy, accuracy_of, signal_to_noise
from vidweave.evaluation.predictions import Prediction
from vidweave.evaluation.runner import Collected, collect
from vidweave.types import Answerer

__all__ = ["Evaluation", "evaluate"]

CROSSINGS = (("selection", "scenes"), ("scenes", "answer modality"))
ALL_SIDES = ("selection", "scenes", "modalities", "answer modality")
CONTROLS: Mapping[View, str] = {"text_only": "question alone", "other_scenes": "scenes of other questions"}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Settings of an evaluation.

    Attributes:
        questions: Questions of one file; `file_hash` identifies it in predictions.
        locate, captions: See `Contra4Task`.
        fit_on: Questions of another file, used to fit a modality prior.
        controls: Also ask without media and with media of other questions; MSNR is computed from these scores.
        orders: Also ask with the scenes in every order (up to 24 times as many questions).
        decoding: Passed to the model.
        batch_size, limit, progress: As in `evaluation.runner.collect`.
    """

    questions: Sequence[ContrastQuestion]
    file_hash: str = ""
    locate: Locate | None = None
    captions: Mapping[tuple[str, str], str] | None = None
    fit_on: Sequence[ContrastQuestion] | None = None
    controls: bool = False
    orders: bool = False
    decoding: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 16
    limit: int | None = None
    progress: bool = True

    def task(self, view: View = "given") -> Contra4Task:
        """Return the task that shows the questions by `view`."""
        return Contra4Task(
            self.questions[: self.limit],
            locate=self.locate,
            view=view,
            captions=self.captions,
            file_hash=self.file_hash,
        )


def evaluate(answerer: Answerer, what: Evaluation, predictions_path: Path | str) -> dict[str, Any]:
    """Evaluate a model, resuming from the prediction files; each control has its own beside `predictions_path`.

    Returns:
        The JSON data of a report (`evaluation.report`), with `controls`, `measures` (MSNR, and the scores of the older
        scorers on the same outputs) and `coverage`.
    """
    task, path = what.task(), Path(predictions_path)
    given = _collect(answerer, what, task, path)
    blind = blind_answers(task.questions, what.fit_on)
    has_kinds = any(question.category is not None for question in task.questions)
    sides = (*CROSSINGS, ALL_SIDES, *([(*ALL_SIDES, "category")] if has_kinds else ()))
    report = given.report(crossings=sides, baselines=blind)
    controls = {
        title: accuracy_of(title, _collect(answerer, what, what.task(view), _beside(path, view)).predictions)
        for view, title in CONTROLS.items()
        if what.controls
    }
    measures: dict[str, float | None] = legacy_accuracies(task.questions, given.predictions)
    if controls:
        scores = (report.overall.accuracy, *(control.accuracy for control in controls.values()))
        measures["signal over noise (MSNR)"] = signal_to_noise(*scores)
    if what.orders:
        controls |= order_scores(_collect(answerer, what, what.task("orders"), _beside(path, "orders")).predictions)
    return {
        **report.to_dict(),
        "controls": {title: accuracy.to_dict() for title, accuracy in controls.items()},
        "measures": measures,
        "coverage": {"asked": len(task.questions), "left_out": task.num_left_out},
    }


def legacy_accuracies(
    questions: Sequence[ContrastQuestion], predictions: Sequence[Prediction]
) -> dict[str, float | None]:
    """Score the outputs with the scorers of 2025 and 2024; lenient, only for comparison with old results."""
    asked = [{**question.to_dict(), "gt_answer": question.answer_label} for question in questions]
    replies = [
        {"id": prediction.id, "pred_ans": prediction.output, "gt_answer": prediction.answer}
        for prediction in predictions
    ]
    right, counted = score_2025(asked, replies).predictions
    return {
        "accuracy by the lenient scorer of 2025": right / counted,
        "accuracy by the lenient scorer of 2024": score_2024(asked, replies)["accuracy"],
    }


def order_scores(predictions: Sequence[Prediction]) -> dict[str, Accuracy]:
    """Measure the effect of scene order: accuracy over all orders, share of consistent and of always correct answers.

    In the accuracy over all orders, each question counts once, as the share of its orders answered correctly: the
    expected score under a random order. Orders of one question are not independent, so the interval is bootstrapped
    over questions.
    """
    by_question: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        by_question.setdefault(prediction.id.rpartition("/")[0], []).append(prediction)
    chosen = [{_scene(prediction) for prediction in asked} for asked in by_question.values()]
    consistent = [len(scenes) == 1 and None not in scenes for scenes in chosen]
    always_right = [all(prediction.correct for prediction in asked) for asked in by_question.values()]
    shares = [sum(prediction.correct for prediction in asked) / len(asked) for asked in by_question.values()]
    return {
        "every order of the scenes": Accuracy.of_shares("every order", shares),
        "same scene in every order": Accuracy.of("same scene", consistent),
        "right in every order": Accuracy.of("always right", always_right),
    }


def _scene(prediction: Prediction) -> int | None:
    """Return the index in the file of the chosen scene."""
    position = chosen_option(prediction.output, prediction.options)
    return None if position is None else int(prediction.id.rpartition("/")[2][position])


def _collect(answerer: Answerer, what: Evaluation, task: Contra4Task, path: Path) -> Collected:
    return collect(
        answerer,
        task,
        path,
        batch_size=what.batch_size,
        progress=what.progress,
        decoding=what.decoding,
        judge=chooses_answer,
    )


def _beside(path: Path, view: str) -> Path:
    """`predictions.jsonl` → `predictions.orders.jsonl`."""
    return path.with_name(f"{path.stem}.{view}{path.suffix}")
