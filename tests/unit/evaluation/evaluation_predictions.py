"""Made-up predictions for tests of what is done with predictions."""

from __future__ import annotations

import random

from vidweave.evaluation.predictions import Prediction


def made_predictions(count: int, share: float, *, seed: int = 0, first: int = 0) -> list[Prediction]:
    """Items of 2 to 4 options and two facets, `share` of them right; items depend on their number alone."""
    rng = random.Random(seed)
    return [made_prediction(number, rng.random() < share) for number in range(first, first + count)]


def made_prediction(number: int, correct: bool, **changes) -> Prediction:
    options = tuple(f"Scene {letter}" for letter in "ABCD"[: 2 + number % 3])
    answer = options[number % len(options)]
    facts = {
        "id": f"item-{number}",
        "question_type": ("odd", "even")[number % 2 == 0],
        "question": f"Which one is {number}?",
        "options": options,
        "answer": answer,
        "prompt": "Which?",
        "frames": ({"stream": "video", "index": 3, "pts_seconds": 0.5},),
        "output": answer if correct else "no idea",
        "scores": (),
        "correct": correct,
        "facets": {"scenes": f"mc_{len(options)}", "selection": ("random", "similarity")[number % 5 == 0]},
    }
    return Prediction(**{**facts, **changes})
