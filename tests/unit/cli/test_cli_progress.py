"""Progress on stderr: after two seconds, in place on a terminal, by lines elsewhere."""

import sys

import pytest

from vidweave.cli.progress import ByteProgress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def told(clock, times, capsys):
    progress = ByteProgress(clock)
    for seconds in times:
        clock.now = 100.0 + seconds
        progress("writing weights", int(1e9 * seconds), int(40e9))
    progress.close()
    return capsys.readouterr().err


def test_short_work_says_nothing(capsys):
    assert told(Clock(), [0.1, 1.0, 1.9], capsys) == ""


def test_long_work_says_a_line_now_and_then(capsys):
    err = told(Clock(), [1, 3, 4, 12, 14, 30], capsys)
    assert err.splitlines() == [f"writing weights: {share}% of 40.0 GB" for share in ("8", "35", "75")]


def test_on_a_terminal_one_line_is_rewritten_and_cleared(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    err = told(Clock(), [1, 3, 3.1, 4], capsys)
    assert "\n" not in err
    assert err.count("writing weights") == 2
    assert err.endswith("\r\x1b[K")


@pytest.mark.parametrize("total", [0, 5])
def test_nothing_to_do_is_no_division_by_zero(total, capsys):
    progress = ByteProgress(clock := Clock())
    clock.now += 5
    progress("hashing files", 0, total)
    assert capsys.readouterr().err.startswith("hashing files: 0% of ")
