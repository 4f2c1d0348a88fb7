"""Examples of fine-tuning: files or data sets, mixed by weights, with a check that training and validation are apart."""

from __future__ import annotations

import random
from collections.abc import Sequence

from vidweave.data.schema import Example
from vidweave.errors import AnnotationError, ConfigError
from vidweave.evaluation.shown_media import MediaHashes
from vidweave.evaluation.targets import Target, find_target, make_task

__all__ = ["check_apart", "mixture", "read_examples"]


def read_examples(file: str, dataset: str, media: str) -> list[Example]:
    """Read the labeled examples of a file.

    Args:
        dataset: Registered data set that reads it; empty is the format of own data.
        media: Folder of the media; empty is the folder of the file.

    Raises:
        ConfigError: no example has an answer.
        AnnotationError, MediaNotFoundError: rows or media that cannot be used.
    """
    target = Target(name=dataset, kind="data set", settings=(f"data={file}",)) if dataset else find_target(file)
    task = make_task(target, (f"media={media}",) if media else ())
    examples = [task.example(index) for index in range(len(task.ids()))]
    labeled = [example for example in examples if example.is_labeled]
    if not labeled:
        raise ConfigError(f"no example of {file} has an answer, so nothing can be trained or compared; add answers")
    return labeled


def mixture(parts: Sequence[Sequence[Example]], weights: Sequence[float], *, seed: int) -> list[Example]:
    """Join the parts; a weight of 2 repeats a part twice per epoch, one of 0.5 takes a fixed random half of it.

    Raises:
        ConfigError: another number of weights than parts, or a weight that is not positive.
    """
    if weights and (len(weights) != len(parts) or min(weights) <= 0):
        raise ConfigError(f"give one positive weight for each of the {len(parts)} files of data, got {list(weights)}")
    mixed: list[Example] = []
    for part, weight in zip(parts, weights or [1.0] * len(parts), strict=True):
        whole, rest = int(weight), round((weight - int(weight)) * len(part))
        mixed += [*part] * whole
        mixed += random.Random(seed).sample([*part], rest)
    return mixed


def check_apart(training: Sequence[Example], validation: Sequence[Example]) -> None:
    """Refuse a validation example that is trained on: the same question about media of the same content.

    Raises:
        AnnotationError: names the first one and their number.
    """
    asked = {example.query.text for example in validation}
    candidates = [example for example in training if example.query.text in asked]
    hashes = MediaHashes()
    trained = {_content(example, hashes): example.id for example in candidates}
    shared = [(e.id, trained[key]) for e in validation if (key := _content(e, hashes)) in trained]
    if shared:
        first, second = shared[0]
        raise AnnotationError(
            f"{len(shared)} of {len(validation)} validation examples are trained on (e.g. {first!r} is {second!r} of the "
            "training data: same question, same media); remove them from one of the two"
        )


def _content(example: Example, hashes: MediaHashes) -> tuple[object, ...]:
    return (example.query.text, *sorted(hashes.of(example).items()))
