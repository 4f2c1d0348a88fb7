"""The benchmark of Contra4: its criteria, and a run of a moment."""

import pytest

from benchmarks import contra4

FINE = {"gain": 20.0, "neighbors": {"grown_bytes": 1e6, "all_pairs_bytes": 4e10}}


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({}, []),
        ({"gain": 9.9}, ["gain over the straightforward form"]),
        ({"neighbors": {"grown_bytes": 1e9, "all_pairs_bytes": 4e10}}, ["memory of a search, share of all pairs"]),
    ],
)
def test_each_criterion_can_fail_alone(changes, failed):
    assert [criterion["name"] for criterion in contra4.judge(FINE | changes) if not criterion["ok"]] == failed


def test_a_small_run_measures_everything():
    result = contra4.measure(records=660, size=70, plain=3, base=300)
    assert result["sampling_similarity"]["records"] == result["sampling_random"]["records"] == 660
    assert result["filters"]["records"] == 660
    assert 250 < result["balance"]["records"] < 500  # about six in ten pass
    assert len(contra4.judge(result)) == 2
