"""Made-up records for tests of what is done with records."""

from __future__ import annotations

import random

from vidweave.evaluation.records import Record


def made_records(count: int, share: float, *, seed: int = 0, first: int = 0) -> list[Record]:
    """Items of 2 to 4 options and two facets, `share` of them right; items depend on their number alone."""
    rng = random.Random(seed)
    return [made_record(number, rng.random() < share) for number in range(first, first + count)]


def made_record(number: int, correct: bool, **changes) -> Record:
    options = tuple(f"Scene {letter}" for letter in "ABCD"[: 2 + number % 3])
    truth = options[number % len(options)]
    facts = {
        "id": f"item-{number}",
        "family": ("odd", "even")[number % 2 == 0],
        "question": f"Which one is {number}?",
        "options": options,
        "truth": truth,
        "prompt": "Which?",
        "frames": ({"stream": "video", "index": 3, "pts_seconds": 0.5},),
        "output": truth if correct else "no idea",
        "scores": (),
        "correct": correct,
        "facets": {"scenes": f"mc_{len(options)}", "selection": ("random", "similarity")[number % 5 == 0]},
    }
    return Record(**{**facts, **changes})
