"""Batches from spawned workers are those of the training process; the workers hold a processor and no weights."""

from functools import partial
from itertools import chain

import numpy as np
import pytest
import torch
from tiny_models import tiny_config, with_processor

from vidweave.errors import ConfigError, TrainingError
from vidweave.training.batches import BatchSource, pickled_source
from vidweave.training.sampler import Sampler
from vidweave.training.stages import Stage
from vidweave.types import Clip, Frames, Query


def _query(seed):
    draw = np.random.default_rng(seed)
    pictures = draw.integers(0, 256, (5 + seed % 3, 20, 24, 3), dtype=np.uint8)
    return Query.about(Clip(Frames.from_array(pictures, fps=5)), "what colour is the circle ?")


def _collate(processor, seeds):
    if 13 in seeds:
        raise ValueError("seed 13")
    return processor([_query(seed) for seed in seeds], targets=["red"] * len(seeds))


def _nothing(model, batch):
    return {}


def _source(collate, workers, examples=range(11)):
    stage = Stage(
        name="words", objective=_nothing, examples=examples, collate=collate, steps=5, batch_size=4, accumulate=2,
        loader_workers=workers,
    )  # fmt: skip
    return BatchSource(stage=stage, examples=examples, sampler=Sampler(size=len(examples), batch_size=4, seed=3))


@pytest.fixture
def processor():
    return with_processor(tiny_config("causal")).processor


@pytest.mark.slow
def test_two_spawned_workers_give_the_batches_of_none(processor):
    alone = list(_source(partial(_collate, processor), 0).steps(1, 5))
    spawned = list(_source(partial(_collate, processor), 2).steps(1, 5))
    assert [[part.indices for part in step] for step in spawned] == [[part.indices for part in step] for step in alone]
    for ours, theirs in zip(chain(*alone), chain(*spawned), strict=True):
        assert torch.equal(ours.batch.plan.ids, theirs.batch.plan.ids)
        assert torch.equal(ours.batch.plan.is_target, theirs.batch.plan.is_target)
        assert torch.equal(ours.batch.streams["video"].values, theirs.batch.streams["video"].values)
        assert torch.equal(ours.batch.streams["video"].mask, theirs.batch.streams["video"].mask)
    failing = _source(partial(_collate, processor), 1, range(13, 17))
    with pytest.raises(TrainingError, match=r"do not collate: ValueError\('seed 13'\)"):
        list(failing.steps(0, 2))


def test_a_worker_gets_a_processor_and_no_weights(processor):
    assert len(pickled_source(_source(partial(_collate, processor), 2))) < 100_000


def test_what_cannot_be_sent_to_a_worker_is_named():
    source = _source(lambda seeds: seeds, 2)
    with pytest.raises(TrainingError, match=r"of stage 'words' cannot be sent to worker processes .* loader_workers=0"):
        next(source.steps(0, 2))
    with pytest.raises(ConfigError):
        _source(_collate, -1)
