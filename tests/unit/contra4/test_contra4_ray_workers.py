"""Ray workers, as far as they can be looked at without Ray (tests/e2e/test_contra4_ray.py runs them)."""

import sys

import pytest
from contra4_rows import pipeline

from vidweave.contra4.pipeline import run
from vidweave.contra4.ray_workers import RayWorkers, _raise
from vidweave.errors import ConfigError, EngineError, MissingExtraError, PipelineError


def test_a_pool_has_workers():
    with pytest.raises(ConfigError, match="a pool needs at least 1 worker, got 0"):
        RayWorkers(workers=0)


def test_without_ray_the_install_line_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vidweave\[scale\]'"):
        run(pipeline(), tmp_path, progress=False, executor=RayWorkers(workers=2))


def test_errors_of_workers_keep_their_kind():
    _raise("", "")
    for kind, expected in (("EngineError", EngineError), ("UnknownNameError", PipelineError), ("None", PipelineError)):
        with pytest.raises(expected, match="it failed"):
            _raise(kind, "it failed")
