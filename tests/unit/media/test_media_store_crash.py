"""Nothing bad is ever left on disk: failures and crashes at every step of a write, and real kills."""

import errno
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from vidweave.errors import StoreError
from vidweave.media.store import FeatureStore

CALLS = ("open", "write", "fsync", "close", "replace")


class Crash(BaseException):
    """The process is gone: nothing after it runs, not even cleaning up (it is no OSError)."""


def value_of(key: str) -> torch.Tensor:
    return torch.full((11, 3), float(int(key)))


def check(root) -> list[str]:
    """Every entry is right; returns the keys."""
    store = FeatureStore(root)
    report = store.verify()
    assert report.ok, report.bad
    keys = store.keys()
    for key in keys:
        got = store.get(key)
        assert got is not None
        assert torch.equal(got["t"], value_of(key))
    assert store.stats().num_damaged == 0
    return keys


class Faults:
    """Makes the n-th of the system calls that write fail; a failing `write` writes half of its bytes first."""

    def __init__(self, monkeypatch, fail_at: int, error: BaseException) -> None:
        self.count, self.fail_at, self.error = 0, fail_at, error
        for name in CALLS:
            monkeypatch.setattr(os, name, self._wrap(name, getattr(os, name)))

    def _wrap(self, name, real):
        def call(*args, **kwargs):
            self.count += 1
            dead = self.count > self.fail_at and isinstance(self.error, Crash)
            if dead or self.count == self.fail_at:
                if name == "write" and not dead:
                    real(args[0], bytes(args[1])[: len(args[1]) // 2])
                if name == "close" and not dead:
                    real(*args)
                raise self.error
            return real(*args, **kwargs)

        return call


def steps_of_a_flush(tmp_path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        store = FeatureStore(tmp_path / "count")
        store.put("1", {"t": value_of("1")})
        faults = Faults(patch, 10_000, Crash())
        store.flush()
        return faults.count - 1  # the last one reads the new index


@pytest.mark.parametrize("kind", ["crash", "full"])
def test_a_flush_that_fails_at_any_step_leaves_the_old_entries_and_no_bad_one(tmp_path, kind):
    num_steps = steps_of_a_flush(tmp_path)
    assert num_steps == 16  # two files: open, write, fsync, close, replace, and the folder's own open, fsync, close
    for step in range(1, num_steps + 1):
        root = tmp_path / f"{kind}{step}"
        with FeatureStore(root) as store:
            store.put("1", {"t": value_of("1")})
        store.put("2", {"t": value_of("2")})
        store.put("3", {"t": value_of("3")})
        error = Crash() if kind == "crash" else OSError(errno.ENOSPC, "No space left on device")
        with pytest.MonkeyPatch.context() as patch:
            Faults(patch, step, error)
            with pytest.raises(Crash if kind == "crash" else StoreError):
                store.flush()
        assert check(root) in (["1"], ["1", "2", "3"]), step
        if kind == "full":
            assert check(root) == ["1"]
            assert FeatureStore(root).verify().leftovers == ()
            store.flush()  # there is space again
        else:
            with FeatureStore(root) as store:
                for key in "23":
                    store.put(key, {"t": value_of(key)})
        assert check(root) == ["1", "2", "3"]


def test_a_full_disk_is_reported_clearly(tmp_path, monkeypatch):
    store = FeatureStore(tmp_path)
    store.put("1", {"t": value_of("1")})
    Faults(monkeypatch, 2, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(
        StoreError, match=r"cannot write 1 entries \(\d+ bytes\) .*No space left on device; free some space"
    ):
        store.flush()


def test_opening_a_store_that_fails_at_any_step_can_be_tried_again(tmp_path):
    for step in range(1, 9):
        with pytest.MonkeyPatch.context() as patch:
            Faults(patch, step, Crash())
            with pytest.raises(Crash):
                FeatureStore(tmp_path / str(step))
        with FeatureStore(tmp_path / str(step)) as store:
            store.put("1", {"t": value_of("1")})
        assert check(tmp_path / str(step)) == ["1"]


def test_pruning_that_dies_halfway_leaves_whole_entries(tmp_path, monkeypatch):
    from pathlib import Path

    store = FeatureStore(tmp_path, flush_bytes=1)
    for key in "1234":
        store.put(key, {"t": value_of(key)})
    real, count = Path.unlink, 0

    def unlink(self, missing_ok=False):
        nonlocal count
        count += 1
        if count == 4:
            raise Crash
        real(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(Crash):
        store.prune(max_bytes=0)
    monkeypatch.undo()
    assert len(check(tmp_path)) == 2


WRITER = """
import sys, torch
from vidweave.media.store import FeatureStore
root, start = sys.argv[1], int(sys.argv[2])
store = FeatureStore(root, flush_bytes=400)
print("ready", flush=True)
for number in range(start, start + 100_000):
    store.put(str(number), {"t": torch.full((11, 3), float(number))})
"""


@pytest.mark.slow
def test_writers_killed_at_random_points_leave_no_bad_entry(tmp_path):
    rng, seen = random.Random(5), 0
    for turn in range(8):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(tmp_path), str(200_000 * (2 * turn + i))],
                stdout=subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            for i in range(2)
        ]
        try:
            for writer in writers:
                assert writer.stdout is not None
                assert writer.stdout.readline() == b"ready\n"
            time.sleep(rng.uniform(0.05, 0.4))
        finally:
            for writer in writers:
                writer.send_signal(signal.SIGKILL)
                writer.communicate()
        keys = check(tmp_path)
        assert len(keys) > seen
        seen = len(keys)
