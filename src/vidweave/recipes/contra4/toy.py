"""Toy-world Contra4: a small cross-modal benchmark with known truth, made by the published pipeline.

The texts come from rules instead of language models. The writer is right most of the time and asks some questions that
have no single answer; verifiers read captions, each with a weakness of its own; so all stages have something to do.

    vidweave contra4 generate contra4/toy --out runs/toy-contra4
    vidweave contra4 stats runs/toy-contra4/questions.json
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from vidweave.contra4.answers import Answers
from vidweave.contra4.balance import Balance
from vidweave.contra4.categories import Categories
from vidweave.contra4.filters import Filters
from vidweave.contra4.pipeline import Pipeline
from vidweave.contra4.questions import Questions
from vidweave.contra4.sampling import Tuples
from vidweave.contra4.toy import NUMBERS, ToyPools
from vidweave.contra4.verification import Verification, Verifier
from vidweave.engines import Request, ScriptedEngine
from vidweave.toyworld.attributes import SHAPES

__all__ = ["Settings", "miscount", "read", "recipe", "write"]

MODALITIES = ("audio", "video", "depth", "flow")


@dataclass(frozen=True)
class Settings:
    """Of the recipe.

    Attributes:
        seed: Which toy world, and how tuples are drawn.
        per_combination: Tuples for each of the 11 combinations of modalities, per selection.
        media: Scenes per modality.
        modalities: Which senses.
        errors: Share of the writer's answers that are wrong.
    """

    seed: int = 4
    per_combination: int = 40
    media: int = 80
    modalities: tuple[str, ...] = MODALITIES
    errors: float = 0.1


def recipe(seed: int, per_combination: int, media: int, modalities: Sequence[str], errors: float) -> Pipeline:
    """All stages, with the balance that lets neither modalities nor positions tell the answer."""
    writer = ScriptedEngine(lambda request: write(request, errors), f"toy writer, {errors:.0%} wrong")
    verifiers = (
        Verifier(name="reader", engine=ScriptedEngine(read, "toy reader")),
        Verifier(name="chatter", engine=ScriptedEngine(read, "toy reader"), style="chat"),
        Verifier(name="miscounter", engine=ScriptedEngine(miscount, "toy reader that cannot count to four")),
    )
    return Pipeline(
        name="toy contra4",
        stages=(
            ToyPools(seed=seed, media=dict.fromkeys(modalities, media)),
            Tuples(per_combination=per_combination, modalities=tuple(modalities), seed=seed),
            Questions(engine=writer),
            Answers(engine=writer),
            Verification(verifiers=verifiers, stop_when_lost=True),
            Filters(verifiers=tuple(verifier.name for verifier in verifiers)),
            Balance(style="fair"),
            Categories(engine=writer),
        ),
    )


# ---- reading prompts

_SCENE = re.compile(r'Scene [A-D]\. "?([^"\n]*)"?')
_QUESTION = re.compile(r"Question: (Which scene [^?\n]*\?)")


def _prompt(request: Request) -> str:
    return request.prompt if isinstance(request.prompt, str) else request.prompt[-1]["content"]


def _captions(prompt: str) -> list[str]:
    """Captions of the scenes that are asked about: the toy world's; the published examples are about other things."""
    return [caption for caption in _SCENE.findall(prompt) if _count(caption)]


def _question(prompt: str) -> str:
    return _QUESTION.findall(prompt)[-1]


def _chance(*texts: str) -> float:
    """A number from 0 to 1 that the texts decide."""
    return int.from_bytes(blake2b("\n".join(texts).encode(), digest_size=6).digest(), "big") / 2**48


# ---- what captions say


def _count(caption: str) -> int:
    words = caption.split()
    return NUMBERS.index(words[0]) + 1 if words and words[0] in NUMBERS else 0


def _right(question: str, captions: Sequence[str], count: Callable[[str], int] = _count) -> list[int]:
    """Places of all scenes that answer the question."""
    counts = [count(caption) for caption in captions]
    if found := re.search(r"holds a (\w+)\?", question):
        return [i for i, caption in enumerate(captions) if found[1] in re.findall(r"\w+", caption)]
    if found := re.search(r"has exactly (\w+) of something\?", question):
        return [i for i, n in enumerate(counts) if n == NUMBERS.index(found[1]) + 1]
    if question.endswith("has the most of something?"):
        return [i for i, n in enumerate(counts) if n == max(counts)]
    return []


def _questions(captions: Sequence[str]) -> list[str]:
    """What can be asked; of shapes only where every scene could have one."""
    shapes = [] if any("beep" in caption for caption in captions) else [f"holds a {shape}?" for shape in SHAPES]
    numbers = [f"has exactly {number} of something?" for number in NUMBERS] + ["has the most of something?"]
    return [question for question in shapes + numbers if len(_right(question, captions)) == 1]


# ---- the models


def write(request: Request, errors: float) -> str:
    """The writer: questions, answers with reasons, kinds."""
    prompt = _prompt(request)
    if prompt.endswith("Category:"):
        return " Shape" if "holds a" in _question(prompt.replace('"', "")) else " Number"
    captions = _captions(prompt)
    if prompt.endswith("Which scene"):
        possible = _questions(captions) or ["is the nicest?"]
        return " " + possible[int(_chance("ask", *captions) * len(possible))]
    right = _right(_question(prompt), captions) or [0]
    if _chance("err", *captions) < errors:
        right = [(right[0] + 1) % len(captions)]
    return f" Scene {'ABCD'[right[0]]}. It says: {captions[right[0]]}"


def read(request: Request) -> str:
    """A verifier that reads captions, and says A when none or several fit, as language models like to."""
    return _verdict(request, _count)


def miscount(request: Request) -> str:
    """A verifier to whom four is three."""
    return _verdict(request, lambda caption: min(_count(caption), 3))


def _verdict(request: Request, count: Callable[[str], int]) -> str:
    prompt = _prompt(request)
    captions = _captions(prompt)
    right = _right(_question(prompt), captions, count)
    return f"Scene {'ABCD'[right[0] if len(right) == 1 else 0]}"
