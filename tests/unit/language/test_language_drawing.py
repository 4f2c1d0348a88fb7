"""Seeded draws: they depend on their seed alone, whatever other threads draw."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch

from vidweave.errors import ConfigError
from vidweave.language.decoding import Decoding
from vidweave.language.drawing import SeededDraws

SHARES = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).expand(50, -1)


def draws(seed, barrier=None):
    result = []
    with SeededDraws(seed, torch.device("cpu")):
        for _ in range(40):
            if barrier is not None:
                barrier.wait(10)  # both threads draw in turns, as near as can be
            result.append(torch.multinomial(SHARES, 1))
            result.append(SHARES.multinomial(2))
    return torch.cat([f.flatten() for f in result])


def test_two_threads_do_not_change_one_another_nor_the_global_state():
    alone = [draws(3), draws(4)]
    assert not torch.equal(*alone)
    before, barrier = torch.random.get_rng_state(), Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda seed: draws(seed, barrier), (3, 4)))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_draws_are_those_of_the_global_generator_with_that_seed():
    with torch.random.fork_rng([]):
        torch.manual_seed(11)
        expected = torch.multinomial(SHARES, 1)
    with SeededDraws(11, torch.device("cpu")):
        assert torch.equal(torch.multinomial(SHARES, 1), expected)
        given = torch.Generator().manual_seed(5)  # a caller's own generator stays in force
        one = torch.multinomial(SHARES, 1, generator=given)
    assert torch.equal(one, torch.multinomial(SHARES, 1, generator=torch.Generator().manual_seed(5)))


@pytest.mark.parametrize("seed", [2**70, 2**64, -1])
def test_a_seed_beyond_torch_is_refused(seed):
    with pytest.raises(ConfigError, match=rf"seed must be between 0 and 2\*\*64 - 1, got {seed}"):
        Decoding(do_sample=True, seed=seed)
    Decoding(do_sample=True, seed=2**64 - 1).seeded(torch.device("cpu"))
