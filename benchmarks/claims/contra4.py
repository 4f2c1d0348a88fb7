"""Claim `contra4`: tiny-crema compares scenes of different modalities better than blind baselines.

The benchmark is generated for the seed by the published pipeline (the recipe `contra4/toy`), from scenes in audio or
video, balanced over positions and modalities. tiny-crema takes one clip, so every scene is asked about alone and the
answers are compared (`contra4.baselines.apart`); a scene with audio only comes with a gray video.
"""

from __future__ import annotations

import random
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.claims.harness import Claim
from benchmarks.claims.items import Items
from vidweave.contra4.baselines.apart import SceneByScene
from vidweave.contra4.baselines.toy_probes import asks_toy_world, beside_grey_video
from vidweave.contra4.blind import RULES, BlindAnswerer
from vidweave.contra4.pipeline import run
from vidweave.contra4.schema import ContrastQuestion, read_questions
from vidweave.contra4.task import Contra4Task, View
from vidweave.contra4.toy import toy_clip
from vidweave.evaluation.statistics import at_chance, loses_at_most
from vidweave.recipes.contra4.toy import recipe
from vidweave.types import Answerer

__all__ = ["contra4"]

MODEL = "tiny-crema"
MODALITIES = ("audio", "video")
LEAD = 0.20
KEPT = 0.2  # minimum share of the tuples kept after writing, verifying and filtering


def contra4(seed: int, examples: int, *, progress: bool = True, model: Answerer | None = None) -> Claim:
    """Measure the claim on world `seed`, `examples` questions.

    tiny-crema is at least 20 points above every blind baseline; without media, and with media of other
    questions, it is at chance.
    """
    if model is None:
        import vidweave

        model = vidweave.load(MODEL)
    questions = toy_questions(seed, examples)
    claim = Claim("contra4", progress=progress)
    answerer = SceneByScene(model=model, ask=asks_toy_world, name="toy world", shown=beside_grey_video)
    claim.answer(MODEL, answerer, _items(questions, "given"))
    views: dict[str, View] = {"question alone": "text_only", "other scenes": "other_scenes"}
    for row, view in views.items():
        claim.answer(row, answerer, _items(questions, view))
    for name, rule in RULES.items():
        claim.answer(name, BlindAnswerer(name, rule), _items(questions, "given"))
        verdict = loses_at_most(claim.scores(MODEL), claim.scores(name), -LEAD)
        claim.check(f"{MODEL} at least {LEAD:.0%} above {name}", verdict)
    chance = sum(1 / len(question.scenes) for question in questions) / len(questions)
    for row in views:
        scores = claim.scores(row)
        claim.check(f"{row}: at chance", at_chance(int(sum(scores)), len(scores), chance))
    return claim


def toy_questions(seed: int, count: int) -> list[ContrastQuestion]:
    """Draw `count` questions of world `seed` from the output of the pipeline."""
    tuples = max(20, round(count / KEPT / 2))  # per selection; two modalities have one combination
    with TemporaryDirectory(prefix="vidweave-") as folder:
        pipeline = recipe(
            seed=seed, per_combination=tuples, media=max(40, count // 2), modalities=MODALITIES, errors=0.1
        )
        result = run(pipeline, Path(folder), progress=False)
        assert result.questions is not None, "the whole pipeline ran"
        questions = read_questions(result.questions)
    random.Random(seed).shuffle(questions)
    return questions[:count]


def _items(questions: list[ContrastQuestion], view: View) -> Items:
    task = Contra4Task(questions, locate=toy_clip, view=view)
    return Items([question.q_type for question in questions], task.example)
