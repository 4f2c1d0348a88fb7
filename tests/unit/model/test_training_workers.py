"""Batches from spawned workers are those of the training process; the workers hold a processor and no weights."""

import os
from functools import partial
from itertools import chain

import numpy as np
import pytest
import torch
from tiny_models import tiny_config, with_processor

from vidweave.errors import ConfigError, TrainingError
from vidweave.media.store import FeatureStore
from vidweave.pipelines.slot import SlotPipeline
from vidweave.training.batches import BatchSource, default_workers, pickled_source
from vidweave.training.sampler import Sampler
from vidweave.training.stages import Stage
from vidweave.types import Clip, Frames, Query


def _query(seed):
    draw = np.random.default_rng(seed)
    frames = draw.integers(0, 256, (5 + seed % 3, 20, 24, 3), dtype=np.uint8)
    return Query.about(Clip(Frames.from_array(frames, fps=5)), "what colour is the circle ?")


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


def _with_tensor(tensor, seeds):
    return seeds


def test_a_model_is_never_sent_to_a_worker(processor):
    """However small it is, and wherever it hides; a processor of any size may go, a large tensor may not."""
    model = with_processor(tiny_config("causal"))
    for held in (model, model.select, {"encoders": [model.encoders]}):
        with pytest.raises(
            TrainingError,
            match=r"a model \((VideoLanguageModel|ModuleDict)\) in the collate function of stage 'words' would be copied to "
            r"every worker process; hold its Processor there instead, or set loader_workers=0",
        ):
            pickled_source(_source(partial(_with_tensor, held), 2))
    with pytest.raises(TrainingError, match=r"a model \(VideoLanguageModel\) in the examples of stage 'words'"):
        pickled_source(_source(partial(_collate, processor), 2, examples=[model]))
    pickled_source(_source(partial(_with_tensor, torch.zeros(249_999)), 2))
    with pytest.raises(TrainingError, match=r"tensors of 1,000,004 bytes in .*, expected at most 1,000,000; put them"):
        pickled_source(_source(partial(_with_tensor, torch.zeros(250_001)), 2))


def _die(seeds):
    os._exit(7)


@pytest.mark.slow
def test_a_worker_that_dies_is_reported():
    source = _source(_die, 1)
    with pytest.raises(
        TrainingError, match=r"a worker process that prepares batches ended \(.*\); set a smaller loader_w"
    ):
        list(source.steps(0, 2))


@pytest.mark.parametrize(("cores", "expected"), [(1, 0), (3, 0), (4, 2), (64, 2)])
def test_two_workers_where_four_cores_are(monkeypatch, cores, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert default_workers() == expected


@pytest.mark.slow
def test_features_of_rows_from_a_worker_are_kept_in_the_store_of_this_process(tmp_path):
    model = with_processor(tiny_config("causal")).eval()
    model.encoders.requires_grad_(False)
    pipe = SlotPipeline(model, cache_folder=tmp_path)
    for step in _source(partial(_cached, model.processor, pipe.cache), 1, range(4)).steps(0, 1):
        for part in step:
            assert all(entry.store is pipe.cache.store for entry in part.batch.streams["video"].entries)
            model(part.batch)
    assert pipe.cache.store.stats().num_pending == 4
    pipe.close()
    assert FeatureStore(tmp_path).stats().num_entries == 4


def _cached(processor, cache, seeds):
    return processor([_query(seed) for seed in seeds], targets=["red"] * len(seeds), cache=cache)
