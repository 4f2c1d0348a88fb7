"""Training that is killed, starved of disk or spread over processes."""

import csv
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

_CHILD = Path(__file__).with_name("training_child.py")
_ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def _command(out: Path, *arguments: object) -> list[str]:
    return [sys.executable, "-W", "error", str(_CHILD), str(out), *map(str, arguments)]


def _finish(out: Path, *arguments: object, preexec=None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(out, *arguments),
        env=_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=200,
        preexec_fn=preexec,
        check=False,
    )


def _rows(out: Path, stage: str) -> list[dict[str, str]]:
    with (out / "logs" / f"{stage}.csv").open() as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def _weights(out: Path) -> dict:
    return load_file(out / "checkpoints" / "002-000000000" / "weights.safetensors")


def _lines(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (out / "logs").glob("*.csv"))


def _kill_after(out: Path, lines: int, delay: float) -> None:
    """Start the run, wait until its logs hold `lines`, and kill it a moment later."""
    process = subprocess.Popen(_command(out, 1, 53, 4, 0.002), env=_ENVIRONMENT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while process.poll() is None and _lines(out) < lines and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_runs_go_on_to_the_same_losses_bit_for_bit(tmp_path, seed):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert _finish(whole).returncode == 0
    rng = random.Random(seed)
    for lines in sorted(rng.sample(range(3, 50), 3)):
        _kill_after(cut, lines, rng.random() * 0.02)
    done = _finish(cut)
    assert done.returncode == 0, done.stderr
    for stage, steps in (("joint", 25), ("passes", 30)):
        assert len(_rows(whole, stage)) == steps
        assert _rows(cut, stage) == _rows(whole, stage)
    before, after = _weights(whole), _weights(cut)
    assert all(before[name].equal(after[name]) for name in before)
    assert not list((cut / "checkpoints").glob(".*"))


@pytest.mark.parametrize("name", ["optimizer.safetensors", "state.json"])
def test_a_disk_that_fills_up_leaves_a_run_that_resumes(tmp_path, name):
    """The limit on file sizes fails the first write beyond it, as a full disk does."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert _finish(whole).returncode == 0
    limit = min(path.stat().st_size for path in whole.glob(f"checkpoints/001-*/{name}")) - 60

    def tight() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    failed = _finish(cut, preexec=tight)
    assert failed.returncode == 1
    # states of a later stage are larger, since they know the data of every stage: then the first stage is whole
    assert "free space and resume" in failed.stderr
    assert re.search(r"00[01]-0000000\d\d", failed.stderr)
    assert not list((cut / "checkpoints").glob(".*"))
    assert _finish(cut).returncode == 0
    assert _rows(cut, "passes") == _rows(whole, "passes")


@pytest.mark.parametrize("size", [53, 7])
def test_two_processes_train_what_one_does(tmp_path, size):
    """Sums over a batch are taken in another order, so losses agree to rounding, which 55 AdamW steps enlarge."""
    one, two = tmp_path / "one", tmp_path / "two"
    first, second = _finish(one, 1, size, 6), _finish(two, 2, size, 6)
    assert first.returncode == 0, first.stderr
    assert second.returncode == 0, second.stderr
    for stage in ("joint", "passes"):
        alone = [float(row["loss"]) for row in _rows(one, stage)]
        together = [float(row["loss"]) for row in _rows(two, stage)]
        assert together == pytest.approx(alone, rel=2e-4, abs=2e-5)


def test_two_killed_processes_resume_bit_for_bit(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert _finish(whole, 2, 53, 6).returncode == 0
    process = subprocess.Popen(
        _command(cut, 2, 53, 6, 0.004), env=_ENVIRONMENT, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 100
    while process.poll() is None and _lines(cut) < 17 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert _finish(cut, 2, 53, 6).returncode == 0
    for stage in ("joint", "passes"):
        assert _rows(cut, stage) == _rows(whole, stage)
