"""The claim about special encoders, with fake models: a mixture that knows less than an encoder fails, and one that cheats does too."""

import random

import pytest
import torch
from torch import nn

from benchmarks.claims import CLAIMS
from benchmarks.claims.merv import MIXTURE, SPECIALITIES, WITHOUT, Without, merv
from vidweave.systems.merv.tiny import ENCODERS, ROWS
from vidweave.toyworld.questions import QUESTION_TYPES
from vidweave.types import Answer, Blocks

SEED, EXAMPLES = 12, 60


class Knower:
    """Right in the question types whose speciality is among `encoders`; guesses by a die elsewhere."""

    def __init__(self, answers, *encoders):
        self.answers, self.encoders = answers, encoders

    def answer(self, queries, **_):
        return [Answer(self.choose(query)) for query in queries]

    def choose(self, query):
        question_type, answer = self.answers[
            query.text, tuple(query.options), query.scenes[0].clip["video"].values.tobytes()
        ]
        die = random.Random(f"{query.text}{query.options}{answer}")
        return answer if SPECIALITIES[question_type] in self.encoders else die.choice(sorted(query.options))


@pytest.fixture(scope="module")
def answers():
    from benchmarks.claims.items import toy_items

    items = toy_items(SEED, EXAMPLES, list(SPECIALITIES))
    examples = [items[i] for i in range(len(items))]
    frames = [example.query.scenes[0].clip["video"].values.tobytes() for example in examples]
    return {
        (e.query.text, tuple(e.query.options), shown): (e.question_type, e.answer)
        for e, shown in zip(examples, frames, strict=True)
    }


def models(answers, **changes):
    """What the claim says, changed."""
    rows = {row: Knower(answers, *ENCODERS) for row in ROWS}
    rows |= {encoder: Knower(answers, encoder) for encoder in ENCODERS} | {"generalist": Knower(answers, "general")}
    rows |= {row: Knower(answers, *(e for e in ENCODERS if e != encoder)) for row, encoder in WITHOUT.items()}
    return {**rows, **changes}


def test_the_claim_is_registered_and_says_whose_speciality_is_what():
    assert CLAIMS.get("merv") is merv
    assert {name for name, encoder in SPECIALITIES.items() if encoder != "general"} == {"texture", "speed"}
    assert all(QUESTION_TYPES[name].needs == {"video"} for name in SPECIALITIES)


def test_a_mixture_that_knows_what_each_encoder_knows_holds(answers):
    claim = merv(SEED, EXAMPLES, progress=False, models=models(answers))
    assert claim.ok
    assert list(claim.rows) == [*ROWS, *WITHOUT]
    assert claim.criteria[0].name == "attention: at least 10% above general"
    assert claim.facts[MIXTURE] == {**dict.fromkeys(ENCODERS, "100.0%"), "mean of the three": "100.0%"}
    assert claim.facts["without detail"]["detail"] != "100.0%"
    assert sum("loses at most 2%" in criterion.name for criterion in claim.criteria) == len(SPECIALITIES)


@pytest.mark.parametrize(
    ("row", "encoders", "failing"),
    [
        ("generalist", ENCODERS, "above generalist"),
        (MIXTURE, ("general", "tempo"), "attention: texture loses at most 2% to detail"),
        (MIXTURE, ("detail", "tempo"), "attention: colour loses at most 2% to general"),
        ("without detail", ENCODERS, "without detail: texture at chance"),
        ("without tempo", ENCODERS, "without tempo: speed at chance"),
    ],
)
def test_it_fails_where_a_row_knows_too_little_or_too_much(answers, row, encoders, failing):
    claim = merv(SEED, EXAMPLES, progress=False, models=models(answers, **{row: Knower(answers, *encoders)}))
    assert any(failing in c.name and not c.ok for c in claim.criteria)
    assert not claim.ok


class Sum(nn.Module):
    def forward(self, blocks):
        return {name: float(block.values.sum()) for name, block in blocks.items()}


class Stub:
    """Its answer is what the fusion gets of each stream."""

    def __init__(self):
        self.connector = nn.Module()
        self.connector.fusion = Sum()
        self.model = self

    def answer(self, queries, **_):
        row = torch.zeros(1, dtype=torch.long)
        block = Blocks(torch.ones(1, 1, 2, 3), torch.ones(1, 1, 2).bool(), torch.zeros(1, 1, 2), row, row)
        return self.connector.fusion({"detail": block, "tempo": block})


def test_the_tokens_of_one_stream_are_zeros_while_it_is_asked():
    stub = Stub()
    assert Without(stub, "detail").answer([]) == {"detail": 0.0, "tempo": 6.0}
    assert stub.answer([]) == {"detail": 6.0, "tempo": 6.0}
