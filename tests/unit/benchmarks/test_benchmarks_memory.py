"""The benchmark of the memory: its criteria, and the parts that run in a moment."""

import pytest
import torch

from benchmarks import memory
from vidweave.connectors.qformer import QFormerConfig
from vidweave.connectors.qformer_memory import MemoryConfig
from vidweave.types import TrunkInput

FINE = {
    10: {"ours": 5.0, "plain": 20.0, "state_bytes": memory.expected_bytes(10)},
    20: {"ours": 6.0, "plain": 34.0, "state_bytes": memory.expected_bytes(20)},
    40: {"ours": 9.0, "plain": 66.0, "state_bytes": memory.expected_bytes(40)},
}
CLIP = {"at_once_seconds": 4.0, "stepping_seconds": 5.0}


ASKED = {"first_seconds": 2.0, "second_seconds": 0.1}


def verdicts(changes=None, clip=CLIP, grown=0, asked=ASKED):
    measured = {length: {**result, **(changes or {}).get(length, {})} for length, result in FINE.items()}
    return {criterion["name"]: criterion["ok"] for criterion in memory.judge(measured, clip, grown, asked)}


def test_all_criteria_hold():
    assert len(verdicts()) == 11
    assert all(verdicts().values())


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("plain loop, M=10, units (else void)", {"changes": {10: {"plain": 21.5}}}),
        ("frame, M=20, units", {"changes": {20: {"ours": 10.1}}}),
        ("gain, M=40", {"changes": {40: {"ours": 14.0}}}),
        ("state, M=20, bytes beside the formula", {"changes": {20: {"state_bytes": 1}}}),
        ("clip at once, share of stepping", {"clip": {"at_once_seconds": 6.0, "stepping_seconds": 5.0}}),
        ("growth of the process, bytes", {"grown": 3 * 2**20}),
        ("second question, share of the first", {"asked": {"first_seconds": 2.0, "second_seconds": 0.3}}),
    ],
)
def test_each_can_fail_alone(name, arguments):
    assert [key for key, ok in verdicts(**arguments).items() if not ok] == [name]


@pytest.mark.slow
def test_state_has_the_size_of_the_formula():
    with torch.device("meta"):
        qformer = QFormerConfig(vocab_size=99, memory=MemoryConfig(length=7)).build().eval()
        queries, text = torch.empty(1, 32, 768), torch.zeros(1, 12, dtype=torch.long)
        inputs = TrunkInput(queries, torch.empty(1, 9, 257, 1408), text=text)
        state = qformer.commit(inputs, qformer.empty_memory(inputs))
    assert memory.state_bytes(state) == memory.expected_bytes(7)


def test_units_are_medians():
    clock = memory.Clock()
    clock.unit_seconds = [2.0, 1.0, 9.0]
    assert clock.units([8.0, 4.0, 100.0]) == 4.0


@pytest.mark.slow
def test_the_process_does_not_grow_with_pushes():
    with torch.no_grad():
        assert memory.growth(120) < memory.MOST_GROWTH


@pytest.mark.slow
def test_a_second_question_costs_a_fraction_of_the_first():
    asked = memory.second_question("tiny-malmm", 40, 2)
    assert 0 < asked["second_seconds"] < asked["first_seconds"]
