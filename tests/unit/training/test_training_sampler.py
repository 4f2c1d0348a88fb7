import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidweave.errors import TrainingError
from vidweave.training.sampler import Sampler, permute


@given(size=st.integers(1, 300), seed=st.integers(0, 2**40), epoch=st.integers(0, 50))
def test_every_epoch_holds_every_example_once(size, seed, epoch):
    assert sorted(permute(i, size, seed, epoch) for i in range(size)) == list(range(size))


def test_a_huge_set_needs_no_memory():
    size = 10**15
    assert len({permute(i, size, 5, 0) for i in range(500)}) == 500
    assert max(permute(i, size, 5, 0) for i in range(500)) > size // 2


def test_epochs_and_seeds_have_their_own_order():
    orders = {tuple(permute(i, 97, seed, epoch) for i in range(97)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_positions_are_spread_evenly():
    # First example over 4,000 seeds: chi-square with 9 degrees of freedom is above 27.9 once in 1,000.
    counts = [0] * 10
    for seed in range(4_000):
        counts[permute(0, 10, seed, 0)] += 1
    assert sum((count - 400) ** 2 / 400 for count in counts) < 27.9


@given(
    size=st.integers(1, 60),
    share=st.integers(1, 4),
    world=st.integers(1, 3),
    parts=st.integers(1, 3),
    step=st.integers(0, 100),
)
def test_processes_together_take_what_one_takes_alone(size, share, world, parts, step):
    sampler = Sampler(size=size, batch_size=share * world * parts, seed=7)
    alone = sampler.batch(step)[0]
    together = [sampler.batch(step, rank=rank, world_size=world, parts=parts) for rank in range(world)]
    assert all(len(parts_of_rank) == parts for parts_of_rank in together)
    assert [i for parts_of_rank in together for part in parts_of_rank for i in part] == alone


def test_without_shuffling_examples_come_in_order_and_cross_epochs():
    sampler = Sampler(size=5, batch_size=3, seed=0, shuffle=False)
    assert [sampler.batch(step)[0] for step in range(3)] == [[0, 1, 2], [3, 4, 0], [1, 2, 3]]
    assert sampler.state(2) == {"epoch": 1, "offset": 1, "size": 5, "batch_size": 3}


def test_an_uneven_batch_names_the_multiple():
    with pytest.raises(
        TrainingError, match="batch_size 6 does not divide into 2 processes x 2 micro-batches; use a multiple of 4"
    ):
        Sampler(size=9, batch_size=6, seed=0).batch(0, world_size=2, parts=2)
    Sampler(size=9, batch_size=8, seed=0).batch(0, world_size=2, parts=2)


def test_no_examples_and_changed_data_are_reported():
    with pytest.raises(TrainingError, match="no examples to train with"):
        Sampler(size=0, batch_size=1, seed=0)
    with pytest.raises(TrainingError, match="batch_size must be at least 1"):
        Sampler(size=3, batch_size=0, seed=0)
    with pytest.raises(TrainingError, match="the data changed: the checkpoint is at"):
        Sampler(size=9, batch_size=2, seed=0).check_state(Sampler(size=8, batch_size=2, seed=0).state(3), 3)
