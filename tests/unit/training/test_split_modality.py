"""Batches of one modality, beyond what the golden shows."""

import pytest

from vidweave.errors import TrainingError
from vidweave.training.split_modality import split_modality_batches

LENGTHS = [(7 * i) % 23 + 1 for i in range(21)]
HAS_VISION = [i % 3 != 0 for i in range(21)]


def test_every_batch_is_of_one_kind_and_every_example_comes():
    batches = split_modality_batches(LENGTHS, HAS_VISION, batch_size=6, world_size=3, seed=5)
    for batch in batches:
        assert [len(part) for part in batch] == [2, 2, 2]
        assert len({HAS_VISION[i] for part in batch for i in part}) == 1
    assert {i for batch in batches for part in batch for i in part} == set(range(21))
    longest = max(LENGTHS)
    assert longest in [LENGTHS[i] for part in batches[0] for i in part]


def test_epochs_and_seeds_give_other_orders():
    made = {
        str(split_modality_batches(LENGTHS, HAS_VISION, batch_size=6, seed=seed, epoch=epoch))
        for seed, epoch in ((5, 0), (5, 1), (7, 0))
    }
    assert len(made) == 3


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(TrainingError, match="batch_size 5 does not divide over 2 processes"):
        split_modality_batches(LENGTHS, HAS_VISION, batch_size=5, world_size=2)
    with pytest.raises(TrainingError, match="7 examples of one kind cannot fill a batch of 16; use a batch_size of at"):
        split_modality_batches(LENGTHS, HAS_VISION, batch_size=16)
