"""CREMA's wording of its data sets: prompts, ids, and the answers it was trained on (spec 5)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vidweave.data.dataset import Dataset
from vidweave.data.schema import Example
from vidweave.errors import UnknownNameError
from vidweave.registry import DATASETS

__all__ = ["WORDINGS", "CremaExamples", "clean", "layout_name", "read_row", "worded"]

_MAX_WORDS = 50


def clean(text: str) -> str:
    """Clean a question as LAVIS does: lower case, without some punctuation, at most 50 words."""
    text = re.sub(r"[.!\"()*#:;~]", "", text.lower()).rstrip(" ")
    words = text.split(" ")
    return " ".join(words[:_MAX_WORDS]) if len(words) > _MAX_WORDS else text


def _cleaned(example: Example) -> Example:
    return _asking(example, clean(example.query.text))


def _situated(example: Example) -> Example:
    """Put the situation before the question, and the question type into the id, by which scores are grouped."""
    extra = example.query.extra
    text = f"{clean(extra['situation'])}. Question: {clean(extra['question'])}"
    return replace(_asking(example, text), id=f"{example.question_type}_{example.id}")


def _cleaned_with_answer(example: Example) -> Example:
    answer = clean(example.answer)
    return replace(_cleaned(example), answer=answer, answers=())


def _as_it_is(example: Example) -> Example:
    return example


WORDINGS: Mapping[str, Callable[[Example], Example]] = {
    "sqa3d": _situated,
    "3d-llm": _cleaned_with_answer,
    "music-avqa": _cleaned,
    "nextqa": _as_it_is,
    "touch-qa": _as_it_is,
    "thermal-qa": _as_it_is,
    "audiocaps": _cleaned,
}
"""Data set (a name of `registry.DATASETS`) → function that words an example as CREMA does."""


def worded(dataset: str, example: Example) -> Example:
    """Word an example of a data set as CREMA does; raise UnknownNameError for a data set that CREMA does not have."""
    if dataset not in WORDINGS:
        raise UnknownNameError("data set of CREMA", dataset, WORDINGS)
    return WORDINGS[dataset](example)


def layout_name(dataset: str, *, trains: bool = False) -> str:
    """Name in `preset.DATASETS` of a data set's prompt: 3D-LLM's differs between training and test."""
    return dataset if trains or dataset != "3d-llm" else "3d-llm-test"


def read_row(dataset: str, row: Mapping[str, Any], where: str = "the annotation") -> Example:
    """Word one object of an annotation file as CREMA does; its media are not searched.

    Raises:
        UnknownNameError: a data set that CREMA does not have.
        AnnotationError: a field is missing or invalid; names `where`.
    """
    if dataset not in WORDINGS:
        raise UnknownNameError("data set of CREMA", dataset, WORDINGS)
    return worded(dataset, DATASETS.get(dataset).read(row, where))


class CremaExamples(Sequence[Example]):
    """Examples of an annotation file, worded as in CREMA.

    Args:
        dataset: A name of WORDINGS.
        data: The annotation file.
        media: Folder with its media.
        modalities: Modalities of the clips; a clip has each of them whose file exists.

    Raises:
        UnknownNameError: a data set that CREMA does not have.
    """

    def __init__(self, dataset: str, data: Path | str, media: Path | str, modalities: Sequence[str]) -> None:
        if dataset not in WORDINGS:
            raise UnknownNameError("data set of CREMA", dataset, WORDINGS)
        self.dataset = dataset
        self._examples: Dataset = DATASETS.get(dataset)(
            data=Path(data), media=(Path(media),), modalities=tuple(modalities)
        )

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:  # type: ignore[override]  # no slices: examples are made one by one
        return worded(self.dataset, self._examples[index])


def _asking(example: Example, text: str) -> Example:
    return replace(example, query=replace(example.query, text=text))
