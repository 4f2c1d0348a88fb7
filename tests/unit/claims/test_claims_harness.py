"""The claims harness with fake models: what knows passes, what does not or what cheats fails."""

import hashlib
import io
import json
import random
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from benchmarks.claims import CLAIMS
from benchmarks.claims.__main__ import main
from benchmarks.claims.base import base
from benchmarks.claims.harness import Claim
from benchmarks.claims.items import another_clip, no_clip, shuffled_options, toy_items
from vidweave.errors import ConfigError
from vidweave.evaluation.statistics import EFFECT, at_chance, at_least, loses_at_most
from vidweave.toyworld.questions import question_types
from vidweave.types import Answer

SEED, EXAMPLES = 11, 24
JUDGED = question_types(needs={"video"}, scope="short", encoder="general")


def frame(query) -> str:
    return hashlib.sha256(query.scenes[0].clip["video"].values.tobytes()).hexdigest()


class Guesser:
    """Any option, by a die that question and clip throw."""

    def answer(self, queries, **_):
        return [Answer(self.choose(query)) for query in queries]

    def choose(self, query) -> str:
        return random.Random(query.text + frame(query)).choice(sorted(query.options))

    def describe(self):
        return {"model": type(self).__name__}


class Constant(Guesser):
    """Always the first option."""

    def choose(self, query) -> str:
        return query.options[0]


class Seer(Guesser):
    """Knows the answer if it sees the clip that was asked about; only where video is enough."""

    def __init__(self) -> None:
        items = toy_items(SEED, EXAMPLES)
        self.known = {}
        for example in (items[i] for i in range(len(items))):
            if example.needs == {"video"} and example.scope == "short":
                self.known[frame(example.query), example.query.text] = example.answer

    def choose(self, query) -> str:
        return self.known.get((frame(query), query.text)) or super().choose(query)


class Cheat(Guesser):
    """Knows the answer from the question alone."""

    def __init__(self) -> None:
        items = toy_items(SEED, EXAMPLES)
        examples = [items[i] for i in range(len(items))]
        self.known = {
            (e.query.text, frozenset(e.query.options)): e.answer for e in examples if e.question_type in JUDGED
        }

    def choose(self, query) -> str:
        return self.known.get((query.text, frozenset(query.options))) or super().choose(query)


class Parrot(Seer):
    """Sees, but only while the options stand as it trained them."""

    def __init__(self) -> None:
        super().__init__()
        items = toy_items(SEED, EXAMPLES)
        self.orders = {(items[i].query.text, items[i].query.options) for i in range(len(items))}

    def choose(self, query) -> str:
        return super().choose(query) if (query.text, query.options) in self.orders else query.options[0]


class Hears(Seer):
    """Knows what video cannot tell."""

    def __init__(self) -> None:
        super().__init__()
        items = toy_items(SEED, EXAMPLES, ["pitch"])
        for example in (items[i] for i in range(len(items))):
            self.known[frame(example.query), example.query.text] = example.answer


def measure(model) -> Claim:
    return base(SEED, EXAMPLES, progress=False, model=model)


def failed(claim: Claim) -> list[str]:
    return [criterion.name for criterion in claim.criteria if not criterion.ok]


@pytest.fixture(scope="module")
def seen() -> Claim:
    return measure(Seer())


def test_a_model_that_sees_keeps_the_claim(seen):
    assert failed(seen) == []
    assert seen.ok
    assert all(seen.scores("right clip", question_type) == [1.0] * EXAMPLES for question_type in JUDGED)


@pytest.mark.parametrize("model", [Guesser, Constant])
def test_a_blind_model_fails_every_question_type_and_no_control(model):
    claim = measure(model())
    requested = {f"right clip: {question_type} at least 95%" for question_type in JUDGED}
    assert {name for name in failed(claim) if name.startswith("right clip")} == requested
    assert not any("at chance" in name for name in failed(claim))


@pytest.mark.slow
def test_a_model_that_needs_no_clip_is_found_out():
    names = failed(measure(Cheat()))
    assert "no clip: all these question types at chance" in names
    assert "another clip: all these question types at chance" in names
    assert "no clip: motion at chance" in names


@pytest.mark.slow
def test_a_model_that_knows_the_order_of_options_is_detected():
    names = failed(measure(Parrot()))
    assert "shuffled options: colour loses at most 2% to right clip" in names
    assert not any("at chance" in name for name in names)


def test_a_model_that_knows_what_it_cannot_see_is_found_out():
    names = failed(measure(Hears()))
    assert "right clip: pitch at chance" in names


def test_the_json_is_as_agreed_and_adds_up(seen):
    data = json.loads(json.dumps(seen.to_dict()))
    assert data["claim"] == "base"
    assert data["rows"] == ["right clip", "another clip", "no clip", "shuffled options"]
    assert set(data["criteria"][0]) == {"name", "value", "threshold", "ok", "p_value", "power"}
    assert set(data["predictions"][0]) == {"id", "question_type", "question", "options", "answer", "predictions"}
    colour = [r for r in data["predictions"] if r["question_type"] == "colour"]
    assert len(colour) == EXAMPLES
    assert all(list(r["predictions"]) == data["rows"] for r in colour)
    assert all(r["predictions"]["right clip"] == r["answer"] for r in colour)
    pitch = next(r for r in data["predictions"] if r["question_type"] == "pitch")
    assert list(pitch["predictions"]) == ["right clip"]
    assert set(data["unjudged"]) >= {"texture", "speed", "order"}


def test_rows_pair_up_and_question_types_that_need_more_are_at_chance(seen):
    assert set(seen.question_types("no clip")) == set(seen.question_types("another clip")) == set(JUDGED)
    names = [criterion.name for criterion in seen.criteria]
    for question_type in ("beeps", "pitch", "distance", "nearer", "spin"):
        assert f"right clip: {question_type} at chance" in names
    assert not any("texture" in name or "order" in name for name in names)
    assert len(names) == len(set(names))


def test_another_clip_is_never_the_own_one_and_every_clip_serves_once():
    items = toy_items(SEED, 9, ["colour", "size"])
    other = another_clip(items, 3)
    own = [frame(items[i].query) for i in range(len(items))]
    got = [frame(other[i].query) for i in range(len(items))]
    for question_type in ("colour", "size"):
        members = [i for i, name in enumerate(items.question_types) if name == question_type]
        assert sorted(own[i] for i in members) == sorted(got[i] for i in members)
    assert all(a != b for a, b in zip(own, got, strict=True))
    assert [other[i].id for i in range(18)] == [items[i].id for i in range(18)]
    assert got == [frame(another_clip(items, 3)[i].query) for i in range(len(items))]
    assert got != [frame(another_clip(items, 4)[i].query) for i in range(len(items))]


def test_no_clip_is_grey_and_as_long():
    items = toy_items(SEED, 2, ["colour"])
    frames, grey = (rows[1].query.scenes[0].clip["video"] for rows in (items, no_clip(items)))
    assert grey.values.shape == frames.values.shape
    assert np.unique(grey.values).tolist() == [127]
    assert np.array_equal(grey.pts_seconds, frames.pts_seconds)


def test_shuffled_options_moves_every_option_and_nothing_else():
    items = toy_items(SEED, 5, ["colour", "size"])
    changed = shuffled_options(items, 1)
    for one, two in ((items[i], changed[i]) for i in range(len(items))):
        assert sorted(one.query.options) == sorted(two.query.options)
        assert all(a != b for a, b in zip(one.query.options, two.query.options, strict=True))
        assert replace(one, query=two.query) == two


def test_chance_is_the_best_constant_answer():
    claim, items = Claim("c", progress=False), toy_items(SEED, 12, ["colour", "size"])
    claim.answer("row", Constant(), items)
    assert claim.chance("colour") == 0.25  # four of six colours: the first option is best
    assert claim.chance("size") == 0.5
    big = [i for i in range(len(items)) if items[i].answer != "small"]
    lopsided = Claim("c", progress=False)
    lopsided.answer("row", Constant(), [items[i] for i in big])
    assert lopsided.chance("size") == 1.0


def test_a_claim_without_criteria_does_not_hold():
    assert not Claim("empty").ok


def test_tables_say_what_failed(seen):
    text = io.StringIO()
    Console(file=text, width=220).print(*seen.tables())
    for words in (
        "base: holds",
        "power at 10%",
        "corrected for",
        "(Holm, 1% in all)",
        "100.0%",
        "texture (unjudged)",
        "another clip: colour at chance",
        "25.0%",
    ):
        assert words in text.getvalue()
    claim = measure(Guesser())
    Console(file=text, width=220).print(*claim.tables())
    assert "base: FAILS" in text.getvalue()


@pytest.fixture
def fakes():
    CLAIMS.register("fake-good", lambda seed, examples, progress: measure(Seer()))
    CLAIMS.register("fake-bad", lambda seed, examples, progress: measure(Guesser()))

    def broken(seed, examples, progress):
        raise ConfigError("no such world")

    CLAIMS.register("fake-broken", broken)
    yield
    for name in ("fake-good", "fake-bad", "fake-broken"):
        CLAIMS.unregister(name)


def test_many_rows_are_grouped_by_their_question_types():
    claim = Claim("many", progress=False)
    (*_, last) = examples = toy_items(SEED, 1, question_types=["colour", "size"])
    for row in "abcdefghi":
        for example in examples:
            claim.enter(row, example, example.answer)
    claim.enter("alone", last, last.answer)
    text = io.StringIO()
    Console(file=text, width=90).print(*claim.tables())
    lines = [line for line in text.getvalue().splitlines() if "100.0% (" in line]
    assert [line.split()[1] for line in lines] == [*"abcdefghi", "alone"]
    assert [line.count("100.0%") for line in lines] == [2] * 9 + [1]


@pytest.mark.slow
@pytest.mark.usefixtures("fakes")
def test_the_command_says_by_its_exit_code_whether_the_claim_holds(tmp_path, capsys):
    file = tmp_path / "out.json"
    assert main(["fake-good", "--seed", "1", "--examples", "100", "--json", str(file), "--quiet"]) == 0
    assert json.loads(file.read_text())["claim"] == "base"
    assert "base: holds" in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]
    assert main(["fake-bad", "--json", "-", "--quiet"]) == 1
    assert not all(c["ok"] for c in json.loads(capsys.readouterr().out)["criteria"])
    assert main(["fake-broken"]) == 2
    assert capsys.readouterr().err == "error: no such world\n"
    with pytest.raises(SystemExit) as stop:
        main(["unheard-of"])
    assert stop.value.code == 2


@pytest.mark.parametrize("count", ["99", "0", "-5"])
def test_too_few_examples_are_refused(count, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["base", "--examples", count])
    assert stop.value.code == 2
    assert f"must be at least 100, got {count}: fewer items leave the criteria without power" in capsys.readouterr().err


# -- what the criteria promise, by simulation


def simulated(rng, question_types: int, items: int, right: float, known: float = 0.0, seen: float = 0.97) -> Claim:
    """A claim of four rows over `question_types` question types of four options; the first question type of "other" knows `known` more."""
    claim, none = Claim("simulated", progress=False), np.zeros(1)
    for question_type in range(question_types):
        scores = {
            "right": rng.random(items) < seen,
            "other": rng.random(items) < right + (known if question_type == 0 else 0.0),
        }
        scores["shuffled"] = np.where(rng.random(items) < 0.02, rng.random(items) < 0.5, scores["right"])
        chance = scores["other"]
        claim.check(f"right: {question_type} at least", at_least(scores["right"].astype(float), 0.95))
        claim.check(f"other: {question_type} at chance", at_chance(int(chance.sum()), items, right))
        claim.check(f"shuffled: {question_type} loses", loses_at_most(scores["shuffled"], scores["right"], 0.02))
        none = none + chance.sum()
    claim.check("other: all at chance", at_chance(int(none[0]), question_types * items, right))
    return claim


@pytest.mark.parametrize(("question_types", "items"), [(16, 220), (4, 100)])
def test_a_true_claim_holds_in_99_of_100_runs_however_many_criteria_it_has(question_types, items):
    rng = np.random.default_rng(7031)
    runs = [simulated(rng, question_types, items, 0.25) for _ in range(400)]
    assert np.mean([claim.ok for claim in runs]) >= 0.99
    alone = [all(verdict.ok for verdict in claim.verdicts.values()) for claim in runs]
    assert question_types < 16 or np.mean(alone) < 0.93  # each criterion at 99% by itself would fail far too often


@pytest.mark.parametrize("items", [150, 300])
def test_a_model_that_knows_something_is_caught_as_often_as_is_printed(items):
    rng = np.random.default_rng(220)
    caught, promised = [], 0.0
    for _ in range(300):
        criteria = {c.name: c for c in simulated(rng, 12, items, 0.25, known=EFFECT).criteria}
        caught.append(not criteria["other: 0 at chance"].ok)
        promised = criteria["other: 0 at chance"].power
    assert 0.05 < promised < 0.95
    assert np.mean(caught) == pytest.approx(promised, abs=0.08)


def test_the_question_of_the_beeps_is_answered_by_the_number_of_criteria():
    """77 of 220 at a chance of a quarter is rare alone and not among the 48 criteria of the claim `base`."""
    claim = Claim("base", progress=False)
    claim.check("beeps at chance", at_chance(77, 220, 0.25))
    assert not claim.ok
    for number in range(47):
        claim.check(f"{number} at chance", at_chance(55, 220, 0.25))
    assert claim.ok
    assert claim.criteria[0].p_value < 0.01
    with pytest.raises(AssertionError, match="added twice"):
        claim.check("beeps at chance", at_chance(77, 220, 0.25))
