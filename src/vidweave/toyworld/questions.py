"""Questions about scenes, with question types that state the modalities and encoders they need.

Values are exchangeable in the sampling of scenes, questions are asked independently of the answer, and wrong options
are drawn uniformly: without the needed modality nothing beats chance, which is one over the number of options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar
from zlib import crc32

import numpy as np

from vidweave.errors import UnknownNameError
from vidweave.toyworld import attributes as a
from vidweave.toyworld.render import RENDERERS
from vidweave.toyworld.scene import Length, ToyObject, ToyScene

__all__ = ["QUESTION_TYPES", "QuestionType", "ToyQuestion", "question_types", "question", "questions"]

T = TypeVar("T")
Asked = tuple[str, str] | tuple[str, str, tuple[str, ...]]  # text, answer, and options if the text names them
Ask = Callable[[ToyScene, np.random.Generator], Asked | None]


@dataclass(frozen=True, kw_only=True)
class ToyQuestion:
    """A question with its answer, which is one of the `options`; the other fields come from its question type."""

    question_type: str
    text: str
    options: tuple[str, ...]
    answer: str
    needs: frozenset[str]
    scope: Length
    encoder: str


@dataclass(frozen=True, kw_only=True)
class QuestionType:
    """A question type.

    Attributes:
        name: Its key in `QUESTION_TYPES`.
        needs: Modalities without which nothing beats chance; with all of them it can be answered.
        scope: Length of its clips.
        encoder: `general`, or `speciality` when it takes an encoder with a special strength.
        speciality: That strength: `detail` (fine texture) or `tempo` (speed); None for general question types.
        answers: Every possible answer.
        num_options: Number of options of a question.
        ask: Scene and random generator → text, answer, and options if the text names them; None if the scene has no such question.
    """

    name: str
    needs: frozenset[str]
    scope: Length
    encoder: Literal["general", "speciality"]
    speciality: str | None
    answers: tuple[str, ...]
    num_options: int
    ask: Ask = field(repr=False)

    @property
    def chance(self) -> float:
        """Accuracy of guessing without the needed modalities."""
        return 1 / self.num_options

    @property
    def is_available(self) -> bool:
        """Whether every needed modality has a renderer."""
        return self.needs <= set(RENDERERS)


QUESTION_TYPES: dict[str, QuestionType] = {}


def question_types(
    *, needs: Iterable[str] | None = None, scope: Length | None = None, encoder: str | None = None
) -> dict[str, QuestionType]:
    """Select the available question types with exactly these needs, this scope and this encoder; None matches any."""
    requested = None if needs is None else frozenset(needs)
    return {
        name: question_type
        for name, question_type in QUESTION_TYPES.items()
        if question_type.is_available
        and requested in (None, question_type.needs)
        and scope in (None, question_type.scope)
        and encoder in (None, question_type.encoder)
    }


def question(scene: ToyScene, question_type: str, rng: np.random.Generator) -> ToyQuestion | None:
    """Draw one question of a type about a scene, or None if the scene has no such question.

    Raises:
        UnknownNameError: unknown question type.
    """
    if question_type not in QUESTION_TYPES:
        raise UnknownNameError("question type", question_type, QUESTION_TYPES)
    facts = QUESTION_TYPES[question_type]
    asked = facts.ask(scene, rng) if scene.length == facts.scope else None
    if asked is None:
        return None
    text, answer, *named = asked
    return ToyQuestion(
        question_type=question_type,
        text=text,
        options=_shuffled(rng, named[0]) if named else _options(facts, answer, rng),
        answer=answer,
        needs=facts.needs,
        scope=facts.scope,
        encoder=facts.encoder,
    )


def questions(scene: ToyScene, *, seed: int = 0, question_types: Iterable[str] | None = None) -> list[ToyQuestion]:
    """Draw at most one question of each type that fits the scene, deterministic in scene, `seed` and type.

    Args:
        scene: Scene to ask about.
        seed: Another seed asks about other objects in other words.
        question_types: Names of question types; None is every available one.

    Raises:
        UnknownNameError: unknown question type.
    """
    names = [n for n, f in QUESTION_TYPES.items() if f.is_available] if question_types is None else list(question_types)
    drawn = []
    for name in names:
        rng = np.random.default_rng([scene.seed, seed, crc32(name.encode()), 20])
        asked = question(scene, name, rng)
        if asked is not None:
            drawn.append(asked)
    return drawn


def _options(facts: QuestionType, answer: str, rng: np.random.Generator) -> tuple[str, ...]:
    """Shuffle the answer among uniformly drawn wrong options."""
    wrong = [x for x in facts.answers if x != answer]
    drawn = [wrong[i] for i in rng.permutation(len(wrong))[: facts.num_options - 1]]
    return _shuffled(rng, (answer, *drawn))


def _shuffled(rng: np.random.Generator, options: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(options[i] for i in rng.permutation(len(options)))


def _family(
    *needs: str,
    answers: Iterable[str],
    num_options: int | None = None,
    scope: Length = "short",
    speciality: str | None = None,
) -> Callable[[Ask], Ask]:
    """Register the decorated function in `QUESTION_TYPES` under its own name."""
    names = tuple(answers)

    def enter(ask: Ask) -> Ask:
        name = ask.__name__
        assert name not in QUESTION_TYPES, name
        QUESTION_TYPES[name] = QuestionType(
            name=name,
            needs=frozenset(needs),
            scope=scope,
            encoder="speciality" if speciality else "general",
            speciality=speciality,
            answers=names,
            num_options=num_options or len(names),
            ask=ask,
        )
        return ask

    return enter


def _pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    return items[int(rng.integers(len(items)))]


def _call(obj: ToyObject, rng: np.random.Generator) -> str:
    """Draw a name for an object that is the only one of its shape and of its color."""
    return _pick(rng, (obj.shape, f"{obj.colour} object", f"{obj.colour} {obj.shape}"))


def _about(attribute: str, *texts: str, where: Callable[[ToyObject], bool] = lambda o: True) -> Ask:
    """Ask for an attribute of any object that fits `where`; `{it}` in the text is replaced by the object's name."""

    def ask(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
        fitting = [o for o in scene.objects if where(o)]
        if not fitting:
            return None
        obj = _pick(rng, fitting)
        return _pick(rng, texts).format(it=_call(obj, rng)), getattr(obj, attribute)

    return ask


# ---- short clips: visible to any encoder


@_family("video", answers=a.COLOURS, num_options=4)
def colour(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    obj = _pick(rng, scene.objects)
    return _pick(rng, ("What colour is the {}?", "Which colour does the {} have?")).format(obj.shape), obj.colour


@_family("video", answers=a.SHAPES, num_options=4)
def shape(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    obj = _pick(rng, scene.objects)
    return _pick(rng, ("What shape is the {} object?", "Which shape is {}?")).format(obj.colour), obj.shape


@_family("video", answers=a.SIZES)
def size(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    ask = _about("size", "Is the {it} big or small?", "What size is the {it}?")
    return ask(scene, rng)


@_family("video", answers=a.MOTIONS, num_options=4)
def motion(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    texts = ("Which way does the {it} move?", "Where does the {it} go?", "How does the {it} move?")
    return _about("motion", *texts, where=lambda o: o.change == "stays")(scene, rng)


@_family("video", answers=("stays", "appears", "vanishes"))
def change(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    obj = _pick(rng, scene.objects)
    # staying is twice as frequent as each of the others: ask about it half as often
    if obj.change == "stays" and rng.random() < 0.5:
        return None
    texts = ("Does the {} stay, appear or vanish?", "What happens to the {}?")
    return _pick(rng, texts).format(_call(obj, rng)), obj.change


@_family("video", answers=("1", "2", "3", "4"))
def count(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    return _pick(rng, ("How many objects are there?", "How many objects can be seen?")), str(len(scene.objects))


@_family("video", answers=("yes", "no"))
def exists(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    there = {(o.colour, o.shape) for o in scene.objects}
    if rng.random() < 0.5:
        answer, (of_colour, of_shape) = "yes", _pick(rng, sorted(there))
    else:  # half of what is not there is a wrong pair of things that are
        mixed = [(o.colour, p.shape) for o in scene.objects for p in scene.objects if o is not p]
        every = [(c, s) for c in a.COLOURS for s in a.SHAPES if (c, s) not in there]
        answer, (of_colour, of_shape) = "no", _pick(rng, mixed if mixed and rng.random() < 0.5 else every)
    return _pick(rng, ("Is there a {} {}?", "Can a {} {} be seen?")).format(of_colour, of_shape), answer


def _beside(scene: ToyScene, rng: np.random.Generator, axis: int, text: str, names: tuple[str, str]) -> Asked | None:
    """Ask where one object is from another, for two that are a quarter apart along `axis`."""
    pairs = [(o, p) for o in scene.objects for p in scene.objects if abs(o.centre[axis] - p.centre[axis]) > 12]
    if not pairs:
        return None
    one, other = _pick(rng, pairs)
    asked = text.format(_call(one, rng), _call(other, rng))
    return asked, names[int(one.centre[axis] > other.centre[axis])]


@_family("video", answers=("left", "right"))
def left_right(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    return _beside(scene, rng, 0, "Is the {} left or right of the {}?", ("left", "right"))


@_family("video", answers=("above", "below"))
def above_below(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    return _beside(scene, rng, 1, "Is the {} above or below the {}?", ("above", "below"))


# ---- short clips: special encoders


@_family("video", answers=a.TEXTURES, speciality="detail")
def texture(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    return _about("texture", "What pattern has the {it}?", "Which pattern is on the {it}?")(scene, rng)


@_family("video", answers=("slow", "fast"), speciality="tempo")
def speed(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    ask = _about(
        "speed", "Does the {it} move slow or fast?", where=lambda o: o.change == "stays" and o.motion != "still"
    )
    return ask(scene, rng)


# ---- short clips: other modalities


@_family("audio", answers=("1", "2", "3", "4"))
def beeps(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    total = sum(len(o.beeps) for o in scene.objects)
    return _pick(rng, ("How many beeps are there?", "How many beeps can be heard?")), str(total)


@_family("audio", answers=a.PITCHES)
def pitch(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    if scene.beeper is None:
        return None
    return _pick(rng, ("Is the sound low, middle or high?", "How high is the sound?")), scene.beeper.pitch


@_family("depth", answers=a.DISTANCES)
def distance(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    return _with_shape(scene, rng, "Is the {} near or far?", "distance")


@_family("video", "depth", answers=a.COLOURS, num_options=2)
def nearer(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    """Ask which object is nearer: depth shows no color, and video no distance, so it takes both."""
    pairs = [(o, p) for o in scene.objects for p in scene.objects if o.distance == "near" and p.distance == "far"]
    if not pairs:
        return None
    near, far = _pick(rng, pairs)
    one, other = (near, far) if rng.random() < 0.5 else (far, near)
    named = (one.colour, other.colour)
    return f"Which is nearer, the {one.colour} or the {other.colour} object?", near.colour, named


@_family("flow", answers=a.SPINS)
def spin(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    return _with_shape(scene, rng, "Does the {} turn left or right?", "spin")


@_family("thermal", answers=a.TEMPERATURES)
def temperature(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    return _with_shape(scene, rng, "Is the {} cold, warm or hot?", "temperature")


@_family("normals", answers=a.RELIEFS)
def relief(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    return _with_shape(scene, rng, "Is the {} bulging or dented?", "relief")


@_family("touch", answers=a.FIRMNESSES)
def firmness(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    return _with_shape(scene, rng, "Is the {} hard or soft?", "firmness")


@_family("point_cloud", answers=a.CONSISTENCIES)
def consistency(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    return _with_shape(scene, rng, "Is the {} solid or hollow?", "consistency")


def _with_shape(scene: ToyScene, rng: np.random.Generator, text: str, attribute: str) -> Asked:
    """Ask about an object by its shape: modalities without color know it by nothing else."""
    obj = _pick(rng, scene.objects)
    return text.format(obj.shape), getattr(obj, attribute)


# ---- long clips: contents, order, counts and kinds of motion

_ORDINALS = ("first", "second", "third", "last")
_DOES = {
    "left": "moves left",
    "right": "moves right",
    "up": "moves up",
    "down": "moves down",
    "shake": "shakes",
    "bounce": "bounces",
    "loop": "loops",
}


@_family("video", answers=a.COLOURS, num_options=2, scope="long")
def first(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    """Ask which of two visits came first."""
    i, j = rng.permutation(len(scene.objects))[:2]
    one, other = scene.objects[i], scene.objects[j]
    text = f"Which comes first, the {one.colour} or the {other.colour} object?"
    return text, scene.objects[min(i, j)].colour, (one.colour, other.colour)


@_family("video", answers=a.COLOURS, num_options=4, scope="long")
def order(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    i = int(rng.integers(len(_ORDINALS)))
    return f"What colour is the {_ORDINALS[i]} object?", scene.objects[i if i < 3 else -1].colour


@_family("video", answers=("1", "2", "3", "4"), scope="long")
def visits(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    times = sum(o.shape == scene.counted_shape for o in scene.objects)
    return f"How many times does a {scene.counted_shape} come?", str(times)


@_family("video", answers=a.COLOURS, num_options=4, scope="long")
def event_colour(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    """Ask for the color of a visit by its motion: every visit moves equally much, so only the question selects it."""
    obj = _pick(rng, scene.objects)
    return f"What colour is the object that {_DOES[obj.motion]}?", obj.colour


@_family("video", answers=a.SHAPES, num_options=4, scope="long")
def event_shape(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    obj = _pick(rng, scene.objects)
    return f"What shape is the object that {_DOES[obj.motion]}?", obj.shape


@_family("video", answers=a.EVENT_MOTIONS, num_options=4, scope="long")
def event_motion(scene: ToyScene, rng: np.random.Generator) -> Asked | None:
    obj = _pick(rng, scene.objects)
    return f"How does the {obj.colour} object move?", obj.motion
